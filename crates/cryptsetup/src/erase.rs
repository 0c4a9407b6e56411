use strongroom_types::Call;
use uuid::Uuid;

use crate::disk::{Disk, Sharing};
use crate::{Cryptsetup, CryptsetupError, Target, command};

impl Cryptsetup {
    /// Makes a volume unreadable by removing every keyslot: without one, the volume key is lost and the
    /// payload is noise.
    ///
    /// `volume` says which volume is meant; a header of another is refused. Promises that afterwards no
    /// keyslot is active and that this is on stable storage. Erasing again is no error. Where the storage
    /// keeps old blocks (snapshots, a flash drive's spare area, copies of an array), they keep the keyslots
    /// too.
    ///
    /// **A header backup brings the volume back.** Destroy every backup as well; only then is the volume
    /// erased. A machine that has the volume open goes on reading it until it is closed.
    ///
    /// # Errors
    /// [`CryptsetupError::WrongVolume`]; as [`Cryptsetup::header`]; [`CryptsetupError::Run`].
    pub fn erase(&self, call: &Call, target: &Target, volume: Uuid) -> Result<(), CryptsetupError> {
        let path = target.header_device();
        let found = self.header(call, target)?.uuid;
        if found != volume {
            return Err(CryptsetupError::WrongVolume {
                path: path.to_owned(),
                expected: volume,
                found,
            });
        }
        self.run(call, "luksErase", path, &command::erase(self.program(), target))?;
        if !self.header(call, target)?.keyslots.is_empty() {
            let finding = "a keyslot is still active";
            return Err(CryptsetupError::Unproven {
                action: "luksErase",
                path: path.to_owned(),
                finding,
            });
        }
        Disk::open(path, Sharing::Anybody)?.sync()
    }
}
