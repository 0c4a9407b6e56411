//! Where the tests work: files in a directory of their own, and loop devices on them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_cryptsetup::{Cryptsetup, Format, Overwrite, Pbkdf, Target, Uuid};
use strongroom_exec::{CommandSpec, Completed, Program, Runner, SystemRunner, Watch};
use strongroom_secret::{Origin, Passphrase, SecretFile};
use strongroom_types::{Call, EncryptionFormat};
use tempfile::TempDir;

pub(crate) const BOTH: [EncryptionFormat; 2] = [EncryptionFormat::Luks1, EncryptionFormat::Luks2];

pub(crate) fn cryptsetup() -> Cryptsetup {
    Cryptsetup::find(Arc::new(SystemRunner::new())).unwrap_or_else(|e| panic!("{e}"))
}

/// Runs a program of the system. The package is named when it is missing.
pub(crate) fn tool(program: &str, package: &str, arguments: &[&Path]) -> Completed {
    let found =
        Program::find(program).unwrap_or_else(|e| panic!("{e}; install the Debian package {package}"));
    let spec = CommandSpec::new(found).args(arguments);
    SystemRunner::new().run(&spec, &Watch::nobody()).unwrap()
}

pub(crate) fn key() -> SecretFile {
    SecretFile::new(&Passphrase::generate().unwrap()).unwrap()
}

pub(crate) fn cheap() -> Pbkdf {
    Pbkdf::for_origin(Origin::Generated)
}

pub(crate) fn fresh() -> Format {
    Format::new(Uuid::new_v4(), cheap())
}

pub(crate) fn call() -> Call {
    Call::new()
}

/// The room for a header and 4 MiB of payload.
pub(crate) fn room(format: EncryptionFormat) -> u64 {
    fresh().header_size(format).get() + (4 << 20)
}

/// A directory of a test.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// A sparse file of this many bytes.
    pub(crate) fn file(&self, name: impl AsRef<Path>, bytes: u64) -> PathBuf {
        let path = self.path(name);
        File::create_new(&path).unwrap().set_len(bytes).unwrap();
        path
    }

    /// A blank volume with room for a header.
    pub(crate) fn blank(&self, format: EncryptionFormat) -> Target {
        Target::new(format, self.file(format.as_str(), room(format))).unwrap()
    }

    /// A volume that the key opens.
    pub(crate) fn volume(&self, format: EncryptionFormat, key: &SecretFile) -> Target {
        let target = self.blank(format);
        cryptsetup()
            .format(&call(), &target, &fresh(), key, Overwrite::Nothing)
            .unwrap();
        target
    }
}

pub(crate) fn write(path: &Path, offset: u64, bytes: &[u8]) {
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .write_all_at(bytes, offset)
        .unwrap();
}

/// A loop device, detached when dropped.
pub(crate) struct Loop(PathBuf);

impl Loop {
    /// On this file. Fails where the machine has no loop devices for root.
    pub(crate) fn on(file: &Path) -> Self {
        // One at a time: who is late claims, for an instant, the device that another one just got.
        let one_at_a_time = File::open("/dev/loop-control").unwrap();
        rustix::fs::flock(&one_at_a_time, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let made = tool("losetup", "mount", &["--find".as_ref(), "--show".as_ref(), file]);
        assert_eq!(
            made.code,
            0,
            "root needs loop devices (/dev/loop-control) for this test: {}",
            made.message()
        );
        Self(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        tool("losetup", "mount", &["--detach".as_ref(), &self.0]);
    }
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a test on a file, and on a loop device when root. An ordinary user cannot attach any; that he is one is asserted, so
/// that nothing is left out for another reason.
pub(crate) fn on_file_and_loop(bytes: u64, test: impl Fn(&Path)) {
    let place = Place::new();
    test(&place.file("file", bytes));
    if is_root() {
        let device = Loop::on(&place.file("below a loop device", bytes));
        test(device.path());
    } else {
        assert_ne!(rustix::process::geteuid().as_raw(), 0);
        println!("not run on a loop device: only root can attach one");
    }
}
