//! What is done with `qemu-img`.

use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use strongroom_endpoint_selector::{
    Disk, DiskLocation, EndpointError, ErrorKind, Protection, SnapshotAction, SourceImage,
};
use strongroom_qemu_img::{
    Check, Create, Encrypted, Image, ImageFormat, Info, KeyDerivation, Layout, Location, LuksOptions,
    Measure, NewImage, Plain, Qcow2Options, Repair, Resize, Side, Snapshot, SnapshotName, Verdict,
};
use strongroom_secret::SecretFile;
use strongroom_types::{Call, DiskFormat, EncryptionFormat, GuestSize, SnapshotId};

use super::{Tools, hand_over};
use crate::qcow2_shell::{self, Base};
use crate::{failure, reading};

/// How snapshots made here are named inside an image: QEMU takes a name of digits for a number.
const SNAPSHOT_PREFIX: &str = "snap-";

/// What QEMU says of a disk.
pub(crate) struct Seen {
    pub(crate) guest: u64,
    pub(crate) encrypted: bool,
    /// The name and the format of its base, as they stand in its header.
    pub(crate) backing: Option<(String, Option<String>)>,
    pub(crate) snapshots: Vec<SnapshotId>,
}

/// How long a tool may take that changes the tables of a qcow2 disk in place. It is a matter of seconds.
const IN_PLACE: Duration = Duration::from_secs(600);

/// A call for a tool that changes the tables of a qcow2 disk in place. `qemu-img snapshot` that is killed in the middle may
/// leave tables that contradict each other, so the caller's deadline and cancellation count before it is started and after it
/// has ended, and not in between.
fn to_its_end(operation: &'static str, call: &Call) -> Result<Call, EndpointError> {
    crate::inspect::go_on(call, operation)?;
    Ok(Call::new().with_timeout(IN_PLACE))
}

pub(super) fn location(location: &DiskLocation) -> Location {
    match location {
        DiskLocation::File(path) => Location::file(path),
        DiskLocation::Block(device) => match device.used {
            None => Location::block(&device.path),
            Some(used) => Location::beginning(&device.path, used),
        },
    }
}

pub(super) fn source(source: &SourceImage<'_>) -> Image<'static, Plain> {
    // QEMU opens a device only as one, and a file only as one.
    let device = source.path.metadata();
    let location = match device.is_ok_and(|found| found.file_type().is_block_device()) {
        true => Location::block(source.path),
        false => Location::file(source.path),
    };
    match source.format {
        DiskFormat::Raw => Image::raw(location).opaque(),
        DiskFormat::Qcow2 => Image::qcow2(location),
    }
}

/// Runs `$body` with `$image` bound to the disk as QEMU opens it, on whichever side of the cipher it is.
macro_rules! with_image {
    ($operation:expr, $disk:expr, |$image:ident| $body:expr) => {{
        let (operation, disk): (&'static str, &Disk<'_>) = ($operation, $disk);
        match disk.protection {
            Protection::Plain => {
                let $image = plain(disk);
                $body
            }
            Protection::Luks {
                format: EncryptionFormat::Luks1,
                key,
            } => {
                let key = hand_over(operation, key)?;
                let $image = encrypted(disk, &key);
                $body
            }
            Protection::Luks {
                format: EncryptionFormat::Luks2,
                ..
            } => {
                let message = format!("{} is LUKS2, which QEMU does not open", disk.location);
                Err(EndpointError::new(ErrorKind::Unsupported, operation, message))
            }
        }
    }};
}
pub(super) use with_image;

/// A disk without a key, on its base.
pub(super) fn plain(disk: &Disk<'_>) -> Image<'static, Plain> {
    let place = location(disk.location);
    let image = match disk.format {
        DiskFormat::Raw => Image::raw(place).opaque(),
        DiskFormat::Qcow2 => Image::qcow2(place),
    };
    match &disk.base {
        None => image,
        Some(base) => image.backed_by(source(base)),
    }
}

/// A LUKS1 disk with its key, on its base.
pub(super) fn encrypted<'k>(disk: &Disk<'_>, key: &'k SecretFile) -> Image<'k, Encrypted> {
    let place = location(disk.location);
    let image = match disk.format {
        DiskFormat::Raw => Image::luks(place, key),
        DiskFormat::Qcow2 => Image::qcow2_luks(place, key),
    };
    match &disk.base {
        None => image,
        Some(base) => image.backed_by(source(base)),
    }
}

impl Tools {
    pub(crate) fn create_qcow2(
        &self,
        operation: &'static str,
        call: &Call,
        path: &Path,
        guest: GuestSize,
        protection: Protection<'_>,
    ) -> Result<(), EndpointError> {
        let Some(key) = protection.key() else {
            let image = NewImage::new(path, Layout::qcow2(Qcow2Options::new()));
            return self.create(operation, call, &image, guest);
        };
        if let Some(()) = self.assemble_qcow2(operation, call, path, guest, key, None)? {
            return Ok(());
        }
        let options = LuksOptions::new(KeyDerivation::for_origin(key.origin()));
        let key = hand_over(operation, key)?;
        let image = NewImage::new(path, Layout::qcow2_luks(&key, Qcow2Options::new(), options));
        self.create(operation, call, &image, guest)
    }

    /// Makes a disk that lies on a plain image, which its header calls `name`; by its absolute path where there is no file system
    /// in memory to make a LUKS header on.
    pub(crate) fn create_overlay(
        &self,
        operation: &'static str,
        call: &Call,
        disk: (&Path, GuestSize, Protection<'_>),
        base: &SourceImage<'_>,
        name: &str,
    ) -> Result<(), EndpointError> {
        let (path, guest, protection) = disk;
        let format = base.format.as_str();
        let Some(key) = protection.key() else {
            let io = |e| failure::io(operation, path, e);
            let mut image = File::create_new(path).map_err(io)?;
            let named = Some(Base { name, format });
            return qcow2_shell::write(&mut image, guest, None::<(&mut File, _)>, named).map_err(io);
        };
        let named = Some(Base { name, format });
        if let Some(()) = self.assemble_qcow2(operation, call, path, guest, key, named)? {
            return Ok(());
        }
        let options = LuksOptions::new(KeyDerivation::for_origin(key.origin()));
        let key = hand_over(operation, key)?;
        let layout = Layout::qcow2_luks(&key, Qcow2Options::new(), options);
        let image = NewImage::new(path, layout).backed_by(&source(base));
        self.create(operation, call, &image, guest)
    }

    fn create<S: Side>(
        &self,
        operation: &'static str,
        call: &Call,
        image: &NewImage<'_, S>,
        guest: GuestSize,
    ) -> Result<(), EndpointError> {
        self.qemu_img(operation)?
            .run(&Create::sized(image, guest), call)
            .map_err(|e| failure::qemu(operation, e))
    }

    pub(crate) fn resize_qcow2(
        &self,
        operation: &'static str,
        call: &Call,
        disk: &Disk<'_>,
        to: GuestSize,
    ) -> Result<(), EndpointError> {
        let qemu = self.qemu_img(operation)?;
        let call = &to_its_end(operation, call)?;
        with_image!(operation, disk, |image| {
            qemu.run(&Resize::grow(&image, to), call)
                .map_err(|e| failure::qemu(operation, e))
        })
    }

    /// Makes a qcow2 disk smaller; what is behind its new end is lost.
    pub(crate) fn cut_qcow2(
        &self,
        operation: &'static str,
        call: &Call,
        disk: &Disk<'_>,
        to: GuestSize,
    ) -> Result<(), EndpointError> {
        let qemu = self.qemu_img(operation)?;
        let call = &to_its_end(operation, call)?;
        with_image!(operation, disk, |image| {
            qemu.run(&Resize::cut(&image, to), call)
                .map_err(|e| failure::qemu(operation, e))
        })
    }

    pub(crate) fn snapshot(
        &self,
        operation: &'static str,
        call: &Call,
        disk: &Disk<'_>,
        snapshot: &SnapshotId,
        action: SnapshotAction,
    ) -> Result<(), EndpointError> {
        let qemu = self.qemu_img(operation)?;
        let name = SnapshotName::new(format!("{SNAPSHOT_PREFIX}{snapshot}"))
            .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, operation, e.to_string()))?;
        let call = &to_its_end(operation, call)?;
        with_image!(operation, disk, |image| {
            let command = match action {
                SnapshotAction::Create => Snapshot::create(&image, &name),
                SnapshotAction::Restore => Snapshot::apply(&image, &name),
                SnapshotAction::Delete => Snapshot::delete(&image, &name),
            };
            qemu.run(&command, call).map_err(|e| failure::qemu(operation, e))
        })
    }

    /// What QEMU says of a disk, without its key.
    pub(crate) fn info(
        &self,
        operation: &'static str,
        call: &Call,
        at: &DiskLocation,
        format: DiskFormat,
        encryption: Option<EncryptionFormat>,
    ) -> Result<Seen, EndpointError> {
        let format = match (format, encryption) {
            (DiskFormat::Qcow2, _) => ImageFormat::Qcow2,
            (DiskFormat::Raw, None) => ImageFormat::Raw,
            (DiskFormat::Raw, Some(_)) => ImageFormat::Luks,
        };
        let info = self
            .qemu_img(operation)?
            .run(&Info::at(format, location(at)), call)
            .map_err(|e| failure::qemu(operation, e))?;
        let ours = |name: &str| name.strip_prefix(SNAPSHOT_PREFIX)?.parse().ok();
        Ok(Seen {
            guest: info.virtual_size,
            encrypted: info.encrypted,
            backing: info.backing.map(|base| (base.name, base.format)),
            snapshots: info.snapshots.iter().filter_map(|s| ours(&s.name)).collect(),
        })
    }

    /// Opens a disk with its key, by QEMU where QEMU can.
    pub(crate) fn open_with_key(
        &self,
        operation: &'static str,
        call: &Call,
        disk: &Disk<'_>,
    ) -> Result<(), EndpointError> {
        match disk.protection {
            Protection::Plain => Ok(()),
            Protection::Luks {
                format: EncryptionFormat::Luks2,
                key,
            } => self.test_passphrase(operation, call, disk.location, EncryptionFormat::Luks2, key),
            Protection::Luks {
                format: EncryptionFormat::Luks1,
                key,
            } => {
                reading::has_keyslot(operation, disk.location, disk.format)?;
                let qemu = self.qemu_img(operation)?;
                let (place, key) = (location(disk.location), hand_over(operation, key)?);
                let image = match disk.format {
                    DiskFormat::Raw => Image::luks(place, &key),
                    DiskFormat::Qcow2 => Image::qcow2_luks(place, &key),
                };
                qemu.prove_key(&image, call)
                    .map_err(|e| failure::qemu(operation, e))
            }
        }
    }

    /// Opens a disk with its key, and answers how many bytes its guest then sees.
    pub(crate) fn opened_size(
        &self,
        operation: &'static str,
        call: &Call,
        disk: &Disk<'_>,
    ) -> Result<u64, EndpointError> {
        let qemu = self.qemu_img(operation)?;
        with_image!(operation, disk, |image| {
            qemu.run(&Measure::copy(&image, &Layout::raw()), call)
                .map(|raw| raw.fully_allocated)
                .map_err(|e| failure::qemu(operation, e))
        })
    }

    /// Checks the metadata of a qcow2 disk. Answers how many clusters are leaked: allocated, and used for nothing. A kill or a
    /// failure in the middle of a write leaves some; they waste space and nothing else.
    pub(crate) fn check_metadata(
        &self,
        operation: &'static str,
        call: &Call,
        disk: &Disk<'_>,
    ) -> Result<u64, EndpointError> {
        self.check(operation, call, disk, None)
    }

    /// The same, and frees leaked clusters. Answers how many there were.
    pub(crate) fn free_leaks(
        &self,
        operation: &'static str,
        call: &Call,
        disk: &Disk<'_>,
    ) -> Result<u64, EndpointError> {
        // The look comes first: a repair writes to the image whatever it finds.
        match self.check(operation, call, disk, None)? {
            0 => Ok(0),
            leaks => {
                let call = &to_its_end(operation, call)?;
                self.check(operation, call, disk, Some(Repair::Leaks))?;
                Ok(leaks)
            }
        }
    }

    fn check(
        &self,
        operation: &'static str,
        call: &Call,
        disk: &Disk<'_>,
        repair: Option<Repair>,
    ) -> Result<u64, EndpointError> {
        let qemu = self.qemu_img(operation)?;
        let report = with_image!(operation, disk, |image| {
            let check = Check::of(&image);
            let check = repair.into_iter().fold(check, Check::repair);
            qemu.run(&check, call).map_err(|e| failure::qemu(operation, e))
        })?;
        match report.verdict {
            Verdict::Clean | Verdict::Leaks => Ok(report.leaks),
            _ => {
                let message = format!(
                    "{} is damaged: {} contradictions in its tables",
                    disk.location, report.corruptions
                );
                Err(EndpointError::new(ErrorKind::WrongDisk, operation, message))
            }
        }
    }
}
