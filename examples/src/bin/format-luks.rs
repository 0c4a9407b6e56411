//! Formats a LUKS volume with the `cryptsetup` crate alone, changes who opens it, and makes it unreadable.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs::File;
use std::sync::Arc;

use strongroom_cryptsetup::{
    Cryptsetup, CryptsetupError, Format, Overwrite, Pbkdf, Precaution, RestoreOnto, Target, Uuid,
};
use strongroom_exec::SystemRunner;
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::{Call, EncryptionFormat};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let cryptsetup = Cryptsetup::find(Arc::new(SystemRunner::new()))?;
    let call = Call::new();

    // A file stands for a disk. A block device is formatted in the same way, and neither needs root here.
    let disk = directory.path().join("disk");
    File::create_new(&disk)?.set_len(64 << 20)?;
    let volume = Target::new(EncryptionFormat::Luks2, &disk)?;

    // The UUID is chosen before, so that after a crash a half-made header is known for one's own.
    let passphrase = Passphrase::generate()?;
    let cost = Pbkdf::for_origin(passphrase.origin());
    let format = Format::new(Uuid::new_v4(), cost).label("example".parse()?);
    let key = SecretFile::new(&passphrase)?;
    let made = cryptsetup.format(&call, &volume, &format, &key, Overwrite::Nothing)?;
    println!("formatted: a guest sees {} bytes", made.geometry.guest().get());

    cryptsetup.test_passphrase(&call, &volume, &key)?;
    let stranger = SecretFile::new(&Passphrase::generate()?)?;
    let wrong = cryptsetup.test_passphrase(&call, &volume, &stranger);
    println!("another passphrase: {}", said(&wrong));

    let again = cryptsetup.format(&call, &volume, &format, &key, Overwrite::Nothing);
    println!("formatting it again: {}", said(&again));

    let header = cryptsetup.header(&call, &volume)?;
    println!(
        "the header: {}, {}, volume {}, {} keyslot in use, room for {} more",
        header.format,
        header.cipher,
        header.uuid,
        header.keyslots.len(),
        header.free_keyslots
    );

    // A change of keyslots asks for a backup of the header as it is now, in case the power fails half-way.
    let backup = cryptsetup.back_up_header(&call, &volume, directory.path().join("header backup"))?;
    let second = SecretFile::new(&Passphrase::generate()?)?;
    let slot = cryptsetup.add_key(&call, &volume, &key, &second, cost, Precaution::Backup(&backup))?;
    cryptsetup.test_passphrase(&call, &volume, &second)?;
    println!("a second passphrase opens keyslot {slot}");

    // The volume is named once more, so that no other is erased by mistake.
    cryptsetup.erase(&call, &volume, header.uuid)?;
    let erased = cryptsetup.test_passphrase(&call, &volume, &second);
    println!("after the erase: {}", said(&erased));

    cryptsetup.restore_header(&call, &backup, &volume, &key, RestoreOnto::SameVolume)?;
    let not_in_backup = cryptsetup.test_passphrase(&call, &volume, &second);
    println!("the backup brings the first passphrase back: to erase a volume is to destroy its backups too");

    let refused = matches!(wrong, Err(CryptsetupError::WrongPassphrase { .. }))
        && matches!(again, Err(CryptsetupError::NotBlank { .. }))
        && matches!(erased, Err(CryptsetupError::NoKeyslot { .. }))
        && matches!(not_in_backup, Err(CryptsetupError::WrongPassphrase { .. }));
    if refused {
        Ok(())
    } else {
        Err("a check did not hold".into())
    }
}

fn said<T>(outcome: &Result<T, CryptsetupError>) -> String {
    outcome
        .as_ref()
        .map_or_else(ToString::to_string, |_| "accepted".to_owned())
}
