use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
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
            Self::Backup(backup) if backup.is_the_volume(target)? => Err(CryptsetupError::BackupIsVolume {
                path: backup.path().to_owned(),
            }),
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

    fn is_the_volume(&self, target: &Target) -> Result<bool, CryptsetupError> {
        let backup = Disk::open(self.path(), Sharing::Anybody)?;
        Ok(backup.is_same_as(&Disk::open(target.header_device(), Sharing::Anybody)?))
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
    /// it holds what the header is now, byte for byte, and that it is on stable storage. It has its name only
    /// once all of this is so. When it fails, no file is left; when the process itself is killed, one may be
    /// left in the same directory whose name begins with `.header-backup-`.
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
        let exists = |to: &Path| CryptsetupError::Exists { path: to.to_owned() };
        self.header(call, target)?;
        if to.symlink_metadata().is_ok() {
            return Err(exists(&to));
        }
        // Under a name that nobody else uses until it is whole: what fails is then ours to remove.
        let attempt = Unfinished(to.with_file_name(format!(".header-backup-{}", Uuid::new_v4())));
        let spec = command::back_up_header(self.program(), target, &attempt.0);
        self.run(call, "luksHeaderBackup", target.header_device(), &spec)?;
        std::fs::set_permissions(&attempt.0, Permissions::from_mode(0o400))
            .map_err(|e| CryptsetupError::io("protect", &attempt.0, e))?;
        let backup = self.header_backup(call, target.format(), &attempt.0)?;
        if !backup.is_current(target)? {
            let finding = "the backup differs from the header";
            return Err(CryptsetupError::Unproven {
                action: "luksHeaderBackup",
                path: to,
                finding,
            });
        }
        Disk::open(&attempt.0, Sharing::Anybody)?.sync()?;
        publish(&attempt.0, &to).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => exists(&to),
            _ => CryptsetupError::io("name", &to, e),
        })?;
        sync_directory_of(&to)?;
        Ok(HeaderBackup {
            target: Target::new(target.format(), to)?,
            ..backup
        })
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

/// A backup that may be incomplete, and goes unless it was given another name. cryptsetup leaves what it has written
/// when there is no more room.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Gives a file its name, never in the place of another file.
fn publish(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // NFS, and file systems in user space, do not know how.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => std::fs::hard_link(from, to),
        outcome => outcome.map_err(io::Error::from),
    }
}
