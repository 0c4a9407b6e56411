use strongroom_secret::SecretFile;
use strongroom_types::Call;

use crate::disk::{Disk, Sharing};
use crate::{Cryptsetup, CryptsetupError, Header, Pbkdf, Precaution, Target, command};

impl Cryptsetup {
    /// Lets one more passphrase open the volume, and says in which keyslot.
    ///
    /// Promises that the new passphrase was tried and opens that keyslot, that all others are as they were,
    /// and that this is on stable storage. A passphrase that opens the volume already is not added again: its
    /// keyslot is the answer, and nothing was written. The volume may be in use.
    ///
    /// # Errors
    /// [`CryptsetupError::WrongPassphrase`] when the existing one opens nothing,
    /// [`CryptsetupError::SlotsFull`], [`CryptsetupError::StaleBackup`], [`CryptsetupError::Pbkdf`],
    /// [`CryptsetupError::TooCostly`]: nothing was written. As [`Cryptsetup::test_passphrase`]; [`CryptsetupError::Unproven`].
    pub fn add_key(
        &self,
        call: &Call,
        target: &Target,
        existing: &SecretFile,
        new: &SecretFile,
        pbkdf: Pbkdf,
        precaution: Precaution<'_>,
    ) -> Result<u8, CryptsetupError> {
        pbkdf.check(target.format()).map_err(CryptsetupError::Pbkdf)?;
        let header = self.header_that_opens(call, target)?;
        self.try_key(call, target, existing, None)?;
        if let Some(slot) = self.slots_of(call, target, &header, new)?.first() {
            return Ok(*slot);
        }
        if header.free_keyslots == 0 {
            return Err(CryptsetupError::SlotsFull {
                path: target.header_device().to_owned(),
            });
        }
        affordable(target, &header, pbkdf)?;
        precaution.check(target)?;
        self.add(call, target, &header, existing, new, pbkdf)
    }

    /// Puts a new passphrase in the place of an old one, and says in which keyslot it is.
    ///
    /// The new one is added and tried before the old one is removed, so that at any instant one of them opens
    /// the volume. Promises that afterwards the new one does and the old one does not, and that this is on
    /// stable storage. Calling it again after an interruption finishes the work; calling it again after
    /// success changes nothing. The volume may be in use.
    ///
    /// Where no keyslot is free, the old one is overwritten, which a power cut can turn into a loss of both:
    /// that is done only with [`Precaution::Backup`].
    ///
    /// This changes who can open the volume from now on. Whoever has the old passphrase and an old header
    /// backup still can.
    ///
    /// # Errors
    /// [`CryptsetupError::WrongPassphrase`] when neither opens the volume,
    /// [`CryptsetupError::SamePassphrase`] when both open the same keyslot, [`CryptsetupError::SlotsFull`],
    /// [`CryptsetupError::StaleBackup`], [`CryptsetupError::Pbkdf`], [`CryptsetupError::TooCostly`]: nothing was written. As
    /// [`Cryptsetup::test_passphrase`]; [`CryptsetupError::Unproven`].
    pub fn change_key(
        &self,
        call: &Call,
        target: &Target,
        old: &SecretFile,
        new: &SecretFile,
        pbkdf: Pbkdf,
        precaution: Precaution<'_>,
    ) -> Result<u8, CryptsetupError> {
        let path = || target.header_device().to_owned();
        pbkdf.check(target.format()).map_err(CryptsetupError::Pbkdf)?;
        let header = self.header_that_opens(call, target)?;
        let old_slots = self.slots_of(call, target, &header, old)?;
        let new_slots = self.slots_of(call, target, &header, new)?;
        if let Some(slot) = old_slots.iter().find(|slot| new_slots.contains(slot)) {
            return Err(CryptsetupError::SamePassphrase {
                path: path(),
                slot: *slot,
            });
        }
        let slot = match (old_slots.first(), new_slots.first()) {
            (None, None) => return Err(CryptsetupError::WrongPassphrase { path: path() }),
            (None, Some(done)) => return Ok(*done),
            (Some(_), Some(slot)) => {
                precaution.check(target)?;
                *slot
            }
            (Some(_), None) if header.free_keyslots > 0 => {
                affordable(target, &header, pbkdf)?;
                precaution.check(target)?;
                self.add(call, target, &header, old, new, pbkdf)?
            }
            (Some(slot), None) => {
                if matches!(precaution, Precaution::Waived) {
                    return Err(CryptsetupError::SlotsFull { path: path() });
                }
                affordable(target, &header, pbkdf)?;
                precaution.check(target)?;
                let spec = command::change_key(self.program(), target, *slot, old, new, pbkdf);
                self.run(call, "luksChangeKey", target.header_device(), &spec)?;
                let changed = self.header(call, target)?;
                self.only_slot_of(call, target, &changed, new, "luksChangeKey")?
            }
        };
        let remaining = self.slots_of(call, target, &self.header(call, target)?, old)?;
        self.kill(call, target, &remaining, new)?;
        Ok(slot)
    }

    /// Takes a passphrase away: removes every keyslot that it opens, and says which.
    ///
    /// `remaining` is another passphrase, which must open a keyslot that stays; so the volume is never left
    /// without one that somebody knows. Promises that afterwards the first passphrase opens nothing and the
    /// other still does, and that this is on stable storage. The volume may be in use.
    ///
    /// # Errors
    /// [`CryptsetupError::WrongPassphrase`] when one of them opens nothing,
    /// [`CryptsetupError::SamePassphrase`], [`CryptsetupError::LastSlot`], [`CryptsetupError::StaleBackup`]:
    /// nothing was written. As [`Cryptsetup::test_passphrase`]; [`CryptsetupError::Unproven`].
    pub fn remove_key(
        &self,
        call: &Call,
        target: &Target,
        key: &SecretFile,
        remaining: &SecretFile,
        precaution: Precaution<'_>,
    ) -> Result<Vec<u8>, CryptsetupError> {
        let path = || target.header_device().to_owned();
        let header = self.header_that_opens(call, target)?;
        let gone = self.slots_of(call, target, &header, key)?;
        let Some(first) = gone.first() else {
            return Err(CryptsetupError::WrongPassphrase { path: path() });
        };
        if header.keyslots.len() == 1 {
            return Err(CryptsetupError::LastSlot {
                path: path(),
                slot: *first,
            });
        }
        let kept = self.slots_of(call, target, &header, remaining)?;
        if let Some(slot) = gone.iter().find(|slot| kept.contains(slot)) {
            return Err(CryptsetupError::SamePassphrase {
                path: path(),
                slot: *slot,
            });
        }
        if kept.is_empty() {
            return Err(CryptsetupError::WrongPassphrase { path: path() });
        }
        precaution.check(target)?;
        self.kill(call, target, &gone, remaining)?;
        Ok(gone)
    }

    /// Removes one keyslot, whoever's passphrase it holds.
    ///
    /// `remaining` must open a keyslot that stays. Promises that afterwards the keyslot is not active, that
    /// `remaining` still opens the volume, and that this is on stable storage. The volume may be in use.
    ///
    /// # Errors
    /// [`CryptsetupError::NoSuchSlot`], [`CryptsetupError::LastSlot`], [`CryptsetupError::WrongPassphrase`],
    /// [`CryptsetupError::LockedOut`] when the passphrase opens the keyslot that goes and no other,
    /// [`CryptsetupError::StaleBackup`]: nothing was written. As [`Cryptsetup::test_passphrase`];
    /// [`CryptsetupError::Unproven`].
    pub fn kill_slot(
        &self,
        call: &Call,
        target: &Target,
        slot: u8,
        remaining: &SecretFile,
        precaution: Precaution<'_>,
    ) -> Result<(), CryptsetupError> {
        let path = || target.header_device().to_owned();
        let header = self.header_that_opens(call, target)?;
        if !header.keyslots.contains_key(&slot) {
            return Err(CryptsetupError::NoSuchSlot { path: path(), slot });
        }
        if header.keyslots.len() == 1 {
            return Err(CryptsetupError::LastSlot { path: path(), slot });
        }
        let kept = self.slots_of(call, target, &header, remaining)?;
        if kept.is_empty() {
            return Err(CryptsetupError::WrongPassphrase { path: path() });
        }
        if kept == [slot] {
            return Err(CryptsetupError::LockedOut { path: path(), slot });
        }
        precaution.check(target)?;
        self.kill(call, target, &[slot], remaining)
    }

    fn add(
        &self,
        call: &Call,
        target: &Target,
        before: &Header,
        existing: &SecretFile,
        new: &SecretFile,
        pbkdf: Pbkdf,
    ) -> Result<u8, CryptsetupError> {
        let spec = command::add_key(self.program(), target, existing, new, pbkdf);
        self.run(call, "luksAddKey", target.header_device(), &spec)?;
        let after = self.header(call, target)?;
        let unproven = |finding| CryptsetupError::Unproven {
            action: "luksAddKey",
            path: target.header_device().to_owned(),
            finding,
        };
        if before
            .keyslots
            .iter()
            .any(|(slot, content)| after.keyslots.get(slot) != Some(content))
        {
            return Err(unproven("another keyslot changed"));
        }
        self.only_slot_of(call, target, &after, new, "luksAddKey")
    }

    /// The keyslot that a new passphrase was put into, tried and on stable storage.
    fn only_slot_of(
        &self,
        call: &Call,
        target: &Target,
        header: &Header,
        new: &SecretFile,
        action: &'static str,
    ) -> Result<u8, CryptsetupError> {
        let path = target.header_device();
        match self.slots_of(call, target, header, new)?.first() {
            Some(slot) => {
                Disk::open(path, Sharing::Anybody)?.sync()?;
                Ok(*slot)
            }
            None => {
                let finding = "the new passphrase does not open it";
                Err(CryptsetupError::Unproven {
                    action,
                    path: path.to_owned(),
                    finding,
                })
            }
        }
    }

    fn kill(
        &self,
        call: &Call,
        target: &Target,
        slots: &[u8],
        remaining: &SecretFile,
    ) -> Result<(), CryptsetupError> {
        let path = target.header_device();
        let unproven = |finding| CryptsetupError::Unproven {
            action: "luksKillSlot",
            path: path.to_owned(),
            finding,
        };
        for slot in slots {
            let spec = command::kill_slot(self.program(), target, *slot, remaining);
            self.run(call, "luksKillSlot", path, &spec)?;
        }
        let header = self.header(call, target)?;
        if slots.iter().any(|slot| header.keyslots.contains_key(slot)) {
            return Err(unproven("the keyslot is still active"));
        }
        match self.try_key(call, target, remaining, None) {
            Ok(()) => Disk::open(path, Sharing::Anybody)?.sync(),
            Err(CryptsetupError::WrongPassphrase { .. }) => {
                Err(unproven("the remaining passphrase does not open it"))
            }
            Err(e) => Err(e),
        }
    }
}

/// That the volume still opens in a time that anybody waits for when there is one more keyslot of this cost.
fn affordable(target: &Target, header: &Header, pbkdf: Pbkdf) -> Result<(), CryptsetupError> {
    let mut all = header.stretching;
    pbkdf
        .add_to(&mut all)
        .map_err(|source| CryptsetupError::TooCostly {
            path: target.header_device().to_owned(),
            source,
        })
}
