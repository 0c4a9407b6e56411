//! A directory with a key, the tools, and headers that they made.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;
use strongroom_exec::{CommandSpec, Completed, Program, RunError, Runner, SystemRunner, Watch};
use strongroom_image::{ImageError, Luks1Header, Luks2Header, Qcow2Header};

/// A directory for one test, removed at its end.
pub(crate) struct Lab(tempfile::TempDir);

impl Lab {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("key"), "correct horse").unwrap();
        std::fs::write(place.path().join("other"), "battery staple").unwrap();
        Self(place)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path as an argument.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn sparse(&self, name: &str, bytes: u64) -> String {
        std::fs::File::create(self.path(name))
            .unwrap()
            .set_len(bytes)
            .unwrap();
        self.arg(name)
    }

    /// `qemu-img create` of a qcow2 image with these options.
    pub(crate) fn qcow2(&self, name: &str, size: u64, options: &str) -> Vec<u8> {
        let secret = format!("secret,id=key,file={}", self.arg("key"));
        let (path, size) = (self.arg(name), size.to_string());
        let mut args = vec!["create", "-q", "-f", "qcow2", "--object", &secret];
        if !options.is_empty() {
            args.extend(["-o", options]);
        }
        args.extend([path.as_str(), &size]);
        succeeds("qemu-img", &args);
        std::fs::read(&path).unwrap()
    }

    /// `cryptsetup luksFormat` of a file of this size.
    pub(crate) fn luks(&self, name: &str, bytes: u64, options: &[&str]) -> Vec<u8> {
        let (path, key) = (self.sparse(name, bytes), self.arg("key"));
        let fast = ["--pbkdf-force-iterations", "1000"];
        let args = [&["luksFormat", "-q"], &fast[..], options, &[&path, &key]].concat();
        succeeds("cryptsetup", &args);
        std::fs::read(&path).unwrap()
    }

    /// What `qemu-img info` says of a file, read as this format.
    pub(crate) fn info(&self, format: &str, name: &str) -> Value {
        let path = self.arg(name);
        let done = succeeds("qemu-img", &["info", "--output=json", "-f", format, &path]);
        serde_json::from_slice(&done.stdout).unwrap()
    }
}

/// Runs a tool.
#[track_caller]
pub(crate) fn tool(name: &str, args: &[&str]) -> Completed {
    run(name, args).unwrap()
}

/// Whether a tool succeeds. One that dies of what it reads, as QEMU 7.2 does of some headers, did not.
#[track_caller]
pub(crate) fn takes(name: &str, args: &[&str]) -> bool {
    match run(name, args) {
        Err(RunError::Signal { .. }) => false,
        done => done.unwrap().code == 0,
    }
}

/// The packages are qemu-utils and cryptsetup-bin.
#[track_caller]
fn run(name: &str, args: &[&str]) -> Result<Completed, RunError> {
    let program = Program::find(name).unwrap_or_else(|e| {
        panic!("{e}: `cargo xtask setup` installs it (Debian: qemu-utils, cryptsetup-bin)");
    });
    SystemRunner::new().run(
        &CommandSpec::new(program).args(args.iter().copied()),
        &Watch::nobody(),
    )
}

#[track_caller]
pub(crate) fn succeeds(name: &str, args: &[&str]) -> Completed {
    let mut done = tool(name, args);
    // QEMU 7.2 says so by chance where several measure the machine at once.
    for _ in 0..50 {
        if done.code == 0 || !done.message().contains("accurate CPU usage") {
            break;
        }
        done = tool(name, args);
    }
    assert_eq!(done.code, 0, "{name} {args:?}: {}", done.message());
    done
}

pub(crate) fn luks1(bytes: &[u8]) -> Result<Luks1Header, ImageError> {
    Luks1Header::read(&mut Cursor::new(bytes))
}

pub(crate) fn luks2(bytes: &[u8]) -> Result<Luks2Header, ImageError> {
    Luks2Header::read(&mut Cursor::new(bytes))
}

pub(crate) fn qcow2(bytes: &[u8]) -> Result<Qcow2Header, ImageError> {
    Qcow2Header::read(&mut Cursor::new(bytes))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

/// Headers that more than one test looks at, made once.
pub(crate) static LUKS1: LazyLock<Vec<u8>> =
    LazyLock::new(|| Lab::new().luks("disk", 4 << 20, &["--type", "luks1"]));
pub(crate) static LUKS2: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let options = [
        "--type",
        "luks2",
        "--pbkdf",
        "pbkdf2",
        "--luks2-keyslots-size",
        "256k",
    ];
    Lab::new().luks("disk", 4 << 20, &options)
});
pub(crate) static QCOW2: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let lab = Lab::new();
    lab.qcow2("base", 1 << 20, "");
    let backing = format!("backing_file={},backing_fmt=qcow2", lab.arg("base"));
    lab.qcow2("disk", 4 << 20, &backing)
});
pub(crate) static QCOW2_LUKS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    Lab::new().qcow2(
        "disk",
        4 << 20,
        "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
    )
});
