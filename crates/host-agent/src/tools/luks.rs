//! What is done with `cryptsetup`.

use std::fs::File;
use std::path::Path;

use strongroom_cryptsetup::{
    CryptsetupError, Format, MappingName, OpenOptions, Overwrite, Pbkdf, Precaution, Target, Uuid,
};
use strongroom_endpoint_selector::{DiskLocation, EndpointError, ErrorKind};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, EncryptionFormat, Geometry, GuestSize, PayloadOffset};

use super::{Tools, hand_over};
use crate::ephemeral::Ephemeral;
use crate::{failure, qcow2_shell};

/// The least guest size that has a name: one sector.
const SECTOR: u64 = 512;

/// Which header is to be written, and over what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewHeader {
    uuid: Uuid,
    overwrite: Overwrite,
}

impl NewHeader {
    /// One that nobody will look for, onto a blank file.
    pub(crate) fn of_nobody() -> Self {
        Self::on_blank(Uuid::new_v4())
    }

    /// One with this UUID, onto a blank file or device.
    pub(crate) fn on_blank(uuid: Uuid) -> Self {
        let overwrite = Overwrite::Nothing;
        Self { uuid, overwrite }
    }

    /// One with this UUID, over what was left when it was begun before.
    pub(crate) fn over_unfinished(uuid: Uuid) -> Self {
        let overwrite = Overwrite::OurUnfinished;
        Self { uuid, overwrite }
    }
}

impl Tools {
    /// Writes a LUKS header onto a blank file or device, and proves that the key opens it.
    pub(crate) fn format_luks(
        &self,
        operation: &'static str,
        call: &Call,
        location: &DiskLocation,
        format: EncryptionFormat,
        key: &Passphrase,
        header: NewHeader,
    ) -> Result<(), EndpointError> {
        let failed = |e| failure::cryptsetup(operation, location.path(), e);
        let target = Target::new(format, location.path()).map_err(failed)?;
        let wanted = Format::new(header.uuid, Pbkdf::for_origin(key.origin()));
        let key = hand_over(operation, key)?;
        self.cryptsetup(operation)?
            .format(call, &target, &wanted, &key, header.overwrite)
            .map(drop)
            .map_err(failed)
    }

    /// Makes an encrypted qcow2 around a header that `cryptsetup` writes in memory; `None` when there is no file system in
    /// memory to write it on.
    pub(crate) fn assemble_qcow2(
        &self,
        operation: &'static str,
        call: &Call,
        path: &Path,
        guest: GuestSize,
        key: &Passphrase,
        base: Option<qcow2_shell::Base<'_>>,
    ) -> Result<Option<()>, EndpointError> {
        let Some(memory) = Ephemeral::new() else {
            return Ok(None);
        };
        let header = memory.path().join("header");
        let io = |e| failure::io(operation, path, e);
        // The payload is one sector that nobody uses: a volume without one is refused.
        File::create_new(&header)
            .and_then(|f| f.set_len(PayloadOffset::LUKS1_CRYPTSETUP.get() + SECTOR))
            .map_err(io)?;
        let location = DiskLocation::File(header.clone());
        self.format_luks(
            operation,
            call,
            &location,
            EncryptionFormat::Luks1,
            key,
            NewHeader::of_nobody(),
        )?;
        let mut image = File::create_new(path).map_err(io)?;
        let mut header = File::open(&header).map_err(io)?;
        let luks = Some((&mut header, PayloadOffset::LUKS1_CRYPTSETUP));
        match qcow2_shell::write(&mut image, guest, luks, base) {
            Ok(()) => Ok(Some(())),
            Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => {
                std::fs::remove_file(path).map_err(io)?;
                Ok(None)
            }
            Err(e) => Err(io(e)),
        }
    }

    pub(crate) fn test_passphrase(
        &self,
        operation: &'static str,
        call: &Call,
        location: &DiskLocation,
        format: EncryptionFormat,
        key: &Passphrase,
    ) -> Result<(), EndpointError> {
        let failed = |e| failure::cryptsetup(operation, location.path(), e);
        let target = Target::new(format, location.path()).map_err(failed)?;
        let key = hand_over(operation, key)?;
        self.cryptsetup(operation)?
            .test_passphrase(call, &target, &key)
            .map_err(failed)
    }

    pub(crate) fn back_up_header(
        &self,
        operation: &'static str,
        call: &Call,
        location: &DiskLocation,
        format: EncryptionFormat,
        to: &Path,
    ) -> Result<(), EndpointError> {
        let failed = |e| failure::cryptsetup(operation, location.path(), e);
        let target = Target::new(format, location.path()).map_err(failed)?;
        self.cryptsetup(operation)?
            .back_up_header(call, &target, to)
            .map(drop)
            .map_err(failed)
    }

    /// Removes every keyslot of a raw LUKS disk.
    pub(crate) fn erase_raw(
        &self,
        operation: &'static str,
        call: &Call,
        location: &DiskLocation,
        format: EncryptionFormat,
    ) -> Result<(), EndpointError> {
        let failed = |e| failure::cryptsetup(operation, location.path(), e);
        let cryptsetup = self.cryptsetup(operation)?;
        let target = Target::new(format, location.path()).map_err(failed)?;
        let volume = cryptsetup.header(call, &target).map_err(failed)?.uuid;
        cryptsetup.erase(call, &target, volume).map_err(failed)
    }

    /// Gives a raw LUKS1 disk another passphrase, also one that a guest has open. Killed in between, both open it, and the same call
    /// finishes.
    pub(crate) fn change_key(
        &self,
        operation: &'static str,
        call: &Call,
        location: &DiskLocation,
        old: &Passphrase,
        new: &Passphrase,
    ) -> Result<(), EndpointError> {
        let failed = |e| failure::cryptsetup(operation, location.path(), e);
        let target = Target::new(EncryptionFormat::Luks1, location.path()).map_err(failed)?;
        let cryptsetup = self.cryptsetup(operation)?;
        let cost = Pbkdf::for_origin(new.origin());
        let (old, new) = (hand_over(operation, old)?, hand_over(operation, new)?);
        let Some(memory) = Ephemeral::new() else {
            let message =
                "there is no file system in memory to keep the old header on meanwhile, such as /dev/shm";
            return Err(EndpointError::new(ErrorKind::Unsupported, operation, message));
        };
        let back_up = |name: &str| cryptsetup.back_up_header(call, &target, memory.path().join(name));
        let before = back_up("before").map_err(failed)?;
        let added = cryptsetup.add_key(call, &target, &old, &new, cost, Precaution::Backup(&before));
        match added {
            // It was changed before, and the answer was lost.
            Err(CryptsetupError::WrongPassphrase { .. })
                if cryptsetup.test_passphrase(call, &target, &new).is_ok() =>
            {
                return Ok(());
            }
            added => added.map_err(failed)?,
        };
        let between = back_up("between").map_err(failed)?;
        cryptsetup
            .remove_key(call, &target, &old, &new, Precaution::Backup(&between))
            .map(drop)
            .map_err(failed)
    }

    /// Opens a small disk as a mapping and closes it.
    pub(crate) fn try_mapping(
        &self,
        operation: &'static str,
        call: &Call,
        place: &Path,
        key: &Passphrase,
    ) -> Result<(), EndpointError> {
        let (path, target) = self.small_disk(operation, call, place, key)?;
        let failed = |e| failure::cryptsetup(operation, &path, e);
        let name: MappingName = format!("strongroom-probe-{}", Uuid::new_v4())
            .parse()
            .map_err(|e| EndpointError::new(ErrorKind::Io, operation, format!("{e}")))?;
        let cryptsetup = self.cryptsetup(operation)?;
        let secret = hand_over(operation, key)?;
        let opened = cryptsetup
            .open(call, &target, &secret, &name, OpenOptions::new())
            .map_err(failed);
        let closed = opened.and_then(|_| cryptsetup.close(&Call::new(), &name).map_err(failed));
        std::fs::remove_file(&path).map_err(|e| failure::io(operation, &path, e))?;
        closed
    }

    /// Makes a small disk with its header in another file.
    pub(crate) fn try_detached_header(
        &self,
        operation: &'static str,
        call: &Call,
        place: &Path,
        key: &Passphrase,
    ) -> Result<(), EndpointError> {
        let (payload, header) = (place.join("payload"), place.join("header"));
        let failed = |e| failure::cryptsetup(operation, &payload, e);
        blank(operation, &payload, 2048 * SECTOR)?;
        let target = Target::new(EncryptionFormat::Luks1, &payload)
            .and_then(|t| t.with_header(&header))
            .map_err(failed)?;
        let cryptsetup = self.cryptsetup(operation)?;
        let wanted = Format::new(Uuid::new_v4(), Pbkdf::for_origin(key.origin()));
        let secret = hand_over(operation, key)?;
        cryptsetup
            .format(call, &target, &wanted, &secret, Overwrite::Nothing)
            .map_err(failed)?;
        cryptsetup.test_passphrase(call, &target, &secret).map_err(failed)
    }

    /// Adds a key to a small disk and removes the one that it was made with.
    pub(crate) fn try_keyslot_change(
        &self,
        operation: &'static str,
        call: &Call,
        place: &Path,
        key: &Passphrase,
    ) -> Result<(), EndpointError> {
        let (path, target) = self.small_disk(operation, call, place, key)?;
        let failed = |e| failure::cryptsetup(operation, &path, e);
        let cryptsetup = self.cryptsetup(operation)?;
        let next = Passphrase::generate()
            .map_err(|e| EndpointError::new(ErrorKind::Io, operation, e.to_string()).with_source(e))?;
        let (old, new) = (hand_over(operation, key)?, hand_over(operation, &next)?);
        let cost = Pbkdf::for_origin(next.origin());
        // The disk is thrown away: nothing would be lost with its header.
        cryptsetup
            .add_key(call, &target, &old, &new, cost, Precaution::Waived)
            .map_err(failed)?;
        cryptsetup
            .remove_key(call, &target, &old, &new, Precaution::Waived)
            .map_err(failed)?;
        cryptsetup.test_passphrase(call, &target, &new).map_err(failed)?;
        std::fs::remove_file(&path).map_err(|e| failure::io(operation, &path, e))
    }

    fn small_disk(
        &self,
        operation: &'static str,
        call: &Call,
        place: &Path,
        key: &Passphrase,
    ) -> Result<(std::path::PathBuf, Target), EndpointError> {
        let path = place.join("small");
        let geometry = GuestSize::new(2048 * SECTOR)
            .ok()
            .and_then(|guest| Geometry::for_guest(guest, PayloadOffset::LUKS1_CRYPTSETUP).ok());
        blank(operation, &path, geometry.map_or(0, |g| g.device().get()))?;
        let location = DiskLocation::File(path.clone());
        self.format_luks(
            operation,
            call,
            &location,
            EncryptionFormat::Luks1,
            key,
            NewHeader::of_nobody(),
        )?;
        let target = Target::new(EncryptionFormat::Luks1, &path)
            .map_err(|e| failure::cryptsetup(operation, &path, e))?;
        Ok((path, target))
    }
}

fn blank(operation: &'static str, path: &Path, bytes: u64) -> Result<(), EndpointError> {
    // A capability that failed before may have left its file.
    let _ = std::fs::remove_file(path);
    File::create_new(path)
        .and_then(|f| f.set_len(bytes))
        .map_err(|e| failure::io(operation, path, e))
}
