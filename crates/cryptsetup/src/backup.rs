use std::fs::{File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use strongroom_types::{Call, EncryptionFormat};
use uuid::Uuid;

use crate::cryptsetup::whole;
use crate::disk::{Disk, Sharing, begins_with, sync_directory_of};
use crate::target::absolute;
use crate::{Cryptsetup, CryptsetupError, HeaderError, Target, command, luks1};

/// A file that holds header and keyslots of a volume.
///
/// With it and a passphrase of the time it was taken, the volume opens, whatever was done to its own header
/// since: also after the passphrase was changed, and after an erase. It is to be guarded as the volume is,
/// and destroyed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderBackup {
    target: Target,
    uuid: Uuid,
    length: u64,
}

/// What stands between a header and the failure of a change of it.
///
/// A power cut in the middle of a change can cost the header, and with it every byte of the volume.
#[derive(Debug, Clone, Copy)]
pub enum Precaution<'b> {
    /// A backup of the header as it is now; one that is older, or another volume's, is refused.
    Backup(&'b HeaderBackup),
    /// None: the volume can be made again, or the storage keeps a copy itself.
    Waived,
}

impl Precaution<'_> {
    pub(crate) fn check(self, target: &Target) -> Result<(), CryptsetupError> {
        match self {
            Self::Waived => Ok(()),
            Self::Backup(backup) if backup.is_current(target)? => Ok(()),
            Self::Backup(backup) => Err(CryptsetupError::StaleBackup {
                backup: backup.path().to_owned(),
                device: target.header_device().to_owned(),
            }),
        }
    }
}

impl HeaderBackup {
    /// Where the backup is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.target.device()
    }

    /// Whose header it is.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Which LUKS it is.
    #[must_use]
    pub fn format(&self) -> EncryptionFormat {
        self.target.format()
    }

    /// Whether this is, byte for byte, what the volume's header and keyslots are now. What lies between them
    /// and the payload does not count: cryptsetup copies some of it and does not write it back.
    ///
    /// # Errors
    /// [`CryptsetupError::Io`] when one of them cannot be read, [`CryptsetupError::DeviceMissing`],
    /// [`CryptsetupError::NotADisk`].
    pub fn is_current(&self, target: &Target) -> Result<bool, CryptsetupError> {
        let backup = File::open(self.path()).map_err(|e| CryptsetupError::io("open", self.path(), e))?;
        let header = Disk::open(target.header_device(), Sharing::Anybody)?;
        begins_with(&header, backup.take(self.length), self.path())
    }

    /// The backup as a volume with its header, which opens but has no payload.
    pub(crate) fn as_target(&self) -> &Target {
        &self.target
    }
}

impl Cryptsetup {
    /// Copies the header and keyslots of a volume into a new file.
    ///
    /// Promises that the file did not exist before, that nobody but its owner can read it (mode 0400), that
    /// it holds what the header is now, byte for byte, and that it is on stable storage. When it fails, no
    /// file is left unless the process itself was killed.
    ///
    /// # Errors
    /// [`CryptsetupError::Exists`] when something is at that path; as [`Cryptsetup::header`];
    /// [`CryptsetupError::Run`], [`CryptsetupError::BadParameters`] when there is no room.
    pub fn back_up_header(
        &self,
        call: &Call,
        target: &Target,
        to: impl AsRef<Path>,
    ) -> Result<HeaderBackup, CryptsetupError> {
        let to = absolute(to.as_ref())?;
        self.header(call, target)?;
        if to.symlink_metadata().is_ok() {
            return Err(CryptsetupError::Exists { path: to });
        }
        let attempt = Unfinished(Some(to.clone()));
        let spec = command::back_up_header(self.program(), target, &to);
        self.run(call, "luksHeaderBackup", target.header_device(), &spec)?;
        std::fs::set_permissions(&to, Permissions::from_mode(0o400))
            .map_err(|e| CryptsetupError::io("protect", &to, e))?;
        let backup = self.header_backup(call, target.format(), &to)?;
        if !backup.is_current(target)? {
            let finding = "the backup differs from the header";
            return Err(CryptsetupError::Unproven {
                action: "luksHeaderBackup",
                path: to,
                finding,
            });
        }
        Disk::open(&to, Sharing::Anybody)?.sync()?;
        sync_directory_of(&to)?;
        attempt.succeeded();
        Ok(backup)
    }

    /// A backup that was made before, by this crate or by cryptsetup.
    ///
    /// # Errors
    /// As [`Cryptsetup::header`]: what is no sound header of this version is no backup.
    pub fn header_backup(
        &self,
        call: &Call,
        format: EncryptionFormat,
        path: impl AsRef<Path>,
    ) -> Result<HeaderBackup, CryptsetupError> {
        let target = Target::new(format, path)?;
        let uuid = self.header(call, &target)?.uuid;
        let disk = Disk::open(target.device(), Sharing::Anybody)?;
        let length = match format {
            EncryptionFormat::Luks1 => luks1::keyslots_end(&whole(&disk)?),
            EncryptionFormat::Luks2 => disk.size(),
        };
        if disk.size() < length {
            let source = HeaderError::Truncated {
                have: disk.size(),
                need: length,
            };
            return Err(CryptsetupError::Header {
                path: target.device().to_owned(),
                source,
            });
        }
        Ok(HeaderBackup { target, uuid, length })
    }
}

/// A backup that may be incomplete, and goes unless it succeeds. cryptsetup leaves what it has written when
/// there is no more room.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    fn succeeded(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}
