use strongroom_secret::SecretFile;
use strongroom_types::Call;

use crate::{Cryptsetup, CryptsetupError, Header, Target, command};

impl Cryptsetup {
    /// Succeeds when the passphrase opens the volume. Nothing is mapped, so that no device-mapper is needed.
    ///
    /// Only the passphrase counts: a LUKS2 volume with a token for a key in the kernel's keyring is not taken
    /// for open with whatever passphrase is given, as cryptsetup by itself would.
    ///
    /// # Errors
    /// [`CryptsetupError::WrongPassphrase`] when it opens no keyslot, [`CryptsetupError::NoKeyslot`] when no
    /// passphrase could, [`CryptsetupError::OutOfMemory`] when Argon2 does not get the memory that the
    /// keyslot asks for; [`CryptsetupError::Header`] also when the header asks for more work than anybody
    /// chooses; and as [`Cryptsetup::header`].
    pub fn test_passphrase(
        &self,
        call: &Call,
        target: &Target,
        key: &SecretFile,
    ) -> Result<(), CryptsetupError> {
        self.header_that_opens(call, target)?;
        self.try_key(call, target, key, None)
    }

    /// The numbers of all keyslots that the passphrase opens, none if it opens none.
    ///
    /// # Errors
    /// As [`Cryptsetup::test_passphrase`], without [`CryptsetupError::WrongPassphrase`].
    pub fn slots_opened_by(
        &self,
        call: &Call,
        target: &Target,
        key: &SecretFile,
    ) -> Result<Vec<u8>, CryptsetupError> {
        let header = self.header_that_opens(call, target)?;
        self.slots_of(call, target, &header, key)
    }

    pub(crate) fn slots_of(
        &self,
        call: &Call,
        target: &Target,
        header: &Header,
        key: &SecretFile,
    ) -> Result<Vec<u8>, CryptsetupError> {
        let mut opened = Vec::new();
        for slot in header.keyslots.keys().copied() {
            match self.try_key(call, target, key, Some(slot)) {
                Ok(()) => opened.push(slot),
                Err(CryptsetupError::WrongPassphrase { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(opened)
    }

    pub(crate) fn header_that_opens(&self, call: &Call, target: &Target) -> Result<Header, CryptsetupError> {
        let header = self.header(call, target)?;
        if header.keyslots.is_empty() {
            return Err(CryptsetupError::NoKeyslot {
                path: target.header_device().to_owned(),
            });
        }
        Ok(header)
    }

    pub(crate) fn try_key(
        &self,
        call: &Call,
        target: &Target,
        key: &SecretFile,
        slot: Option<u8>,
    ) -> Result<(), CryptsetupError> {
        let spec = command::test_passphrase(self.program(), target, key, slot);
        self.run(call, "open --test-passphrase", target.header_device(), &spec)
            .map(drop)
    }
}
