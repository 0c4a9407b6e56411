//! Encrypts a qcow2 image with the `qemu-img` crate alone, and proves it.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use strongroom_exec::SystemRunner;
use strongroom_qemu_img::{
    Compare, Comparison, Convert, ConvertOptions, Create, Image, Info, KeyDerivation, Layout, LuksOptions,
    NewImage, Qcow2Options, QemuImg,
};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::{Call, GuestSize};

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let qemu = QemuImg::find(SystemRunner::new())?;
    let call = Call::new();

    let plain_path = directory.path().join("plain.raw");
    std::fs::write(&plain_path, vec![42; 4 << 20])?;
    let plain = Image::raw(&plain_path);

    // The passphrase has 256 random bits, so key derivation may be cheap.
    let passphrase = Passphrase::generate()?;
    let derivation = KeyDerivation::for_origin(passphrase.origin());
    let key = SecretFile::new(&passphrase)?;

    let layout = Layout::qcow2_luks(&key, Qcow2Options::new(), LuksOptions::new(derivation));
    let new = NewImage::new(directory.path().join("secret.qcow2"), layout);
    qemu.run(&Create::sized(&new, GuestSize::new(4 << 20)?), &call)?;
    let encrypted = new.image();
    qemu.run(
        &Convert::new(&plain, &encrypted).options(ConvertOptions::fast()),
        &call,
    )?;

    let info = qemu.run(&Info::of(&encrypted), &call)?;
    println!(
        "encrypted: {}, guest size: {} bytes",
        info.encrypted, info.virtual_size
    );
    let same = qemu.run(&Compare::new(&plain, &encrypted), &call)? == Comparison::Identical;
    println!("through the key the content is the same: {same}");

    let raw = std::fs::read(new.path())?;
    let in_clear = raw.windows(64).any(|window| window == [42; 64]);
    println!("the content lies in the file in clear: {in_clear}");

    let other = SecretFile::new(&Passphrase::generate()?)?;
    let wrong = qemu.prove_key(&Image::qcow2_luks(new.path(), &other), &call);
    println!(
        "another key: {}",
        wrong
            .as_ref()
            .map_or_else(ToString::to_string, |()| "accepted".to_owned())
    );
    if info.encrypted && same && !in_clear && wrong.is_err() {
        Ok(())
    } else {
        Err("a check did not hold".into())
    }
}
