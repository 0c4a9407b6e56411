use strongroom_secret::SecretFile;
use strongroom_types::{Call, Geometry, GeometryError};
use uuid::Uuid;

use crate::content::{Content, identify};
use crate::disk::{Disk, Sharing};
use crate::header::uuid as uuid_in;
use crate::luks2_copy::{Found, counting};
use crate::{Cryptsetup, CryptsetupError, Header, HeaderBackup, Target, command};

/// What a header backup may be written over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RestoreOnto {
    /// A header of the same volume, such as one whose keyslots were erased or changed.
    #[default]
    SameVolume,
    /// Besides that, a device whose header is gone: zeros or unknown data. A device that holds something
    /// known, such as another volume or a file system, is still refused.
    LostHeader,
}

impl Cryptsetup {
    /// Writes header and keyslots of a backup back to its volume.
    ///
    /// Before anything is written, the key must open the backup, and the device must be large enough, not in
    /// use, and what `onto` says; where it has a sound header, that must be for the same volume key. Promises that afterwards the header is that of the backup, byte for byte,
    /// that the key opens the volume, and that this is on stable storage.
    ///
    /// Keyslots that were added, changed or removed since the backup was taken are as they were then.
    ///
    /// # Errors
    /// [`CryptsetupError::WrongPassphrase`] with the backup's path when the key does not open it;
    /// [`CryptsetupError::WrongVolume`], [`CryptsetupError::WrongFormat`], [`CryptsetupError::NotLuks`],
    /// [`CryptsetupError::NotBlank`], [`CryptsetupError::OtherVolumeKey`], [`CryptsetupError::TooSmall`],
    /// [`CryptsetupError::Busy`] for a device that will not do: nothing was written. [`CryptsetupError::Run`] and the rest: the header may be
    /// half-written; restore it again with [`RestoreOnto::LostHeader`].
    pub fn restore_header(
        &self,
        call: &Call,
        backup: &HeaderBackup,
        target: &Target,
        key: &SecretFile,
        onto: RestoreOnto,
    ) -> Result<Header, CryptsetupError> {
        if backup.format() != target.format() {
            let (path, expected, found) = (backup.path().to_owned(), target.format(), backup.format());
            return Err(CryptsetupError::WrongFormat {
                path,
                expected,
                found,
            });
        }
        self.test_passphrase(call, backup.as_target(), key)?;
        self.claiming(call, target, &[target.header_device()])?
            .restore_claimed(call, backup, target, key, onto)
    }

    fn restore_claimed(
        &self,
        call: &Call,
        backup: &HeaderBackup,
        target: &Target,
        key: &SecretFile,
        onto: RestoreOnto,
    ) -> Result<Header, CryptsetupError> {
        let saved = self.header(call, backup.as_target())?;
        fits(&saved, backup, target)?;
        admit(
            &Disk::open(target.header_device(), Sharing::Nobody)?,
            backup,
            onto,
        )?;
        // A header that cannot be read tells nothing, and is what a restore is for.
        if self
            .header(call, target)
            .is_ok_and(|present| present.volume_key != saved.volume_key)
        {
            return Err(CryptsetupError::OtherVolumeKey {
                backup: backup.path().to_owned(),
                device: target.header_device().to_owned(),
            });
        }
        let spec = command::restore_header(self.program(), target, backup.path());
        self.run(call, "luksHeaderRestore", target.header_device(), &spec)?;
        let header = self.header(call, target)?;
        if !backup.is_current(target)? {
            let path = target.header_device().to_owned();
            let finding = "the header differs from the backup";
            return Err(CryptsetupError::Unproven {
                action: "luksHeaderRestore",
                path,
                finding,
            });
        }
        self.try_key(call, target, key, None)?;
        Disk::open(target.header_device(), Sharing::Anybody)?.sync()?;
        Ok(header)
    }
}

/// cryptsetup 2.6.1 makes a file larger to have room for the header, and exits with 0.
fn fits(header: &Header, backup: &HeaderBackup, target: &Target) -> Result<(), CryptsetupError> {
    let too_small = |path: &std::path::Path, source| CryptsetupError::TooSmall {
        path: path.to_owned(),
        source,
    };
    let place = Disk::open(target.header_device(), Sharing::Anybody)?;
    let length = Disk::open(backup.path(), Sharing::Anybody)?.size();
    if place.size() < length {
        let source = GeometryError::NoRoom {
            device: place.size(),
            offset: length,
        };
        return Err(too_small(place.path(), source));
    }
    let size = Disk::open(target.device(), Sharing::Anybody)?.device_size()?;
    Geometry::of_device(size, header.payload_offset)
        .map(drop)
        .map_err(|source| too_small(target.device(), source))
}

fn admit(disk: &Disk, backup: &HeaderBackup, onto: RestoreOnto) -> Result<(), CryptsetupError> {
    let path = || disk.path().to_owned();
    let found = identify(disk)?;
    let format = match found {
        Some((Content::Luks1, _)) => strongroom_types::EncryptionFormat::Luks1,
        Some((Content::Luks2, _)) => strongroom_types::EncryptionFormat::Luks2,
        Some((content, offset)) => {
            return Err(CryptsetupError::NotBlank {
                path: path(),
                found: content,
                offset,
            });
        }
        None if onto == RestoreOnto::LostHeader => return Ok(()),
        None => return Err(CryptsetupError::NotLuks { path: path() }),
    };
    let begins = found.map_or(0, |(_, offset)| offset);
    match volume_of(disk, begins)? {
        Some(uuid) if uuid == backup.uuid() => {}
        Some(found) => {
            return Err(CryptsetupError::WrongVolume {
                path: path(),
                expected: backup.uuid(),
                found,
            });
        }
        None if onto == RestoreOnto::LostHeader => {}
        None => return Err(CryptsetupError::NotLuks { path: path() }),
    }
    if format != backup.format() {
        return Err(CryptsetupError::WrongFormat {
            path: path(),
            expected: backup.format(),
            found: format,
        });
    }
    Ok(())
}

/// The UUID of the header: of LUKS2 that of the copy that counts; where none is whole, what stands where the header begins.
/// `None` when that is garbled.
fn volume_of(disk: &Disk, begins: u64) -> Result<Option<Uuid>, CryptsetupError> {
    if let Found::Whole(copy) = counting(disk)? {
        return Ok(Some(copy.identity.uuid));
    }
    let mut text = [0; 40];
    disk.read_at(begins.saturating_add(168), &mut text)?;
    Ok(uuid_in(&text).ok())
}
