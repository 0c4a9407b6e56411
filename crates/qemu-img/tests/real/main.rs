//! Every command on real images, run by the `qemu-img` of this machine.
#![cfg(test)]

mod checks;
mod copies;
mod creation;
mod devices;
mod failures;
mod keys;
mod overlays;
mod parts;
mod paths;
mod sizes;
mod snapshots;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use strongroom_exec::SystemRunner;
use strongroom_qemu_img::{
    Command, Compare, Comparison, Convert, ConvertOptions, Create, Encrypted, Image, KeyDerivation, Layout,
    LuksOptions, NewImage, Qcow2Options, QemuImg, QemuImgError, Side,
};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::{Call, GuestSize};

/// The size of what is in the template and in both encrypted fixtures.
const SIZE: u64 = 2 << 20;
const CANARY: &[u8] = b"canary-in-a-strongroom";

/// Made once for all tests, since each costs seconds of CPU time. The keys open the images in [`FIXTURES`].
static PASSPHRASE: LazyLock<Passphrase> = LazyLock::new(|| Passphrase::generate().unwrap());
static KEY: LazyLock<SecretFile> = LazyLock::new(|| SecretFile::new(&PASSPHRASE).unwrap());
static OTHER_PASSPHRASE: LazyLock<Passphrase> = LazyLock::new(|| Passphrase::generate().unwrap());
static OTHER_KEY: LazyLock<SecretFile> = LazyLock::new(|| SecretFile::new(&OTHER_PASSPHRASE).unwrap());
static QCOW2_LUKS: LazyLock<Vec<u8>> =
    LazyLock::new(|| fixture(Layout::qcow2_luks(&KEY, Qcow2Options::new(), fast())));
static LUKS: LazyLock<Vec<u8>> = LazyLock::new(|| fixture(Layout::luks(&KEY, fast())));

fn new_key() -> SecretFile {
    SecretFile::new(&Passphrase::generate().unwrap()).unwrap()
}

fn fast() -> LuksOptions {
    LuksOptions::new(KeyDerivation::Fast)
}

fn size(bytes: u64) -> GuestSize {
    GuestSize::new(bytes).unwrap()
}

fn tool() -> QemuImg<SystemRunner> {
    QemuImg::find(SystemRunner::new()).expect("apt-get install qemu-utils")
}

fn run<'k, C: Command<'k>>(command: &C) -> Result<C::Answer, QemuImgError> {
    let mut answer = tool().run(command, &Call::new());
    // QEMU 7.2 says so by chance where several measure the machine at once.
    for _ in 0..50 {
        match &answer {
            Err(QemuImgError::Failed { message, .. }) if message.contains("accurate CPU usage") => {
                answer = tool().run(command, &Call::new());
            }
            _ => break,
        }
    }
    answer
}

/// An image with the content of the template, as bytes.
fn fixture(layout: Layout<'_, Encrypted>) -> Vec<u8> {
    let lab = Lab::new();
    let image = NewImage::new(lab.path("fixture"), layout);
    run(&Create::sized(&image, size(SIZE))).unwrap();
    let copy = Convert::new(&Image::raw(lab.template()), image.image()).options(ConvertOptions::fast());
    tool().convert(&copy, &Call::new()).unwrap();
    std::fs::read(image.path()).unwrap()
}

/// A directory for one test, removed at its end.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A raw image full of canaries.
    fn template(&self) -> PathBuf {
        self.write("template", &content(CANARY))
    }

    fn qcow2_luks(&self, name: &str) -> Image<'static, Encrypted> {
        Image::qcow2_luks(self.write(name, &QCOW2_LUKS), &KEY)
    }

    fn luks(&self, name: &str) -> Image<'static, Encrypted> {
        Image::luks(self.write(name, &LUKS), &KEY)
    }
}

/// A disk's worth of one word.
fn content(word: &[u8]) -> Vec<u8> {
    word.iter().copied().cycle().take(SIZE as usize).collect()
}

fn has_canary(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap();
    bytes.windows(CANARY.len()).any(|window| window == CANARY)
}

fn same<A: Side, B: Side>(a: &Image<'_, A>, b: &Image<'_, B>) -> bool {
    run(&Compare::new(a, b)).unwrap() == Comparison::Identical
}
