//! Loop devices and what lies on them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use strongroom_endpoint_selector::{BlockDevice, DeviceIdentity, DiskLocation};
use strongroom_types::DeviceSize;

use crate::bench::{Bench, tool};

/// A loop device that is detached when dropped.
pub(crate) struct Loop {
    pub(crate) path: String,
    pub(crate) backing: PathBuf,
}

impl Loop {
    /// One of zeros.
    pub(crate) fn new(bench: &Bench, bytes: u64) -> Self {
        let backing = bench.path(&format!("backing-{}", bench.names().len()));
        fs::File::create(&backing).unwrap().set_len(bytes).unwrap();
        Self::on(backing)
    }

    /// One with this content.
    pub(crate) fn with(bench: &Bench, content: &[u8]) -> Self {
        let backing = bench.path(&format!("backing-{}", bench.names().len()));
        fs::write(&backing, content).unwrap();
        Self::on(backing)
    }

    /// One on this file.
    pub(crate) fn on(backing: PathBuf) -> Self {
        Self::on_part(backing, &[])
    }

    /// One on what these options of `losetup` say of a file.
    pub(crate) fn on_part(backing: PathBuf, options: &[&str]) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "loop devices need root: run the tests as root"
        );
        // One at a time: who is late claims, for an instant, the device that another one just got.
        let one_at_a_time = fs::File::open("/dev/loop-control").unwrap();
        flock(&one_at_a_time, FlockOperation::LockExclusive).unwrap();
        let mut arguments = vec!["--find", "--show", "--partscan", backing.to_str().unwrap()];
        arguments.extend(options);
        let attached = tool("losetup", &arguments);
        assert_eq!(attached.code, 0, "{}", attached.message());
        let path = String::from_utf8(attached.stdout).unwrap().trim().to_owned();
        Self { path, backing }
    }

    /// Makes its file larger or smaller, which it does not notice by itself.
    pub(crate) fn resize_file(&self, bytes: u64) {
        let file = fs::File::options().write(true).open(&self.backing).unwrap();
        file.set_len(bytes).unwrap();
    }

    /// Writes to it, as its storage or a guest would.
    pub(crate) fn put(&self, bytes: &[u8], at: u64) {
        let file = fs::File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, at).unwrap();
        file.sync_all().unwrap();
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    pub(crate) fn device(&self) -> BlockDevice {
        BlockDevice::new(&self.path)
    }

    /// The whole device.
    pub(crate) fn whole(&self) -> DiskLocation {
        DiskLocation::Block(self.device())
    }

    /// Its first bytes, and which device it is.
    pub(crate) fn first(&self, bytes: u64) -> DiskLocation {
        let size = DeviceSize::new(fs::metadata(&self.backing).unwrap().len()).unwrap();
        let serial = self.backing.to_str().unwrap().to_owned();
        DiskLocation::Block(
            self.device()
                .with_identity(DeviceIdentity::new(size, Some(serial)))
                .with_used(DeviceSize::new(bytes).unwrap()),
        )
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        tool("losetup", &["--detach", &self.path]);
    }
}

/// What somebody else may have behind a disk: bytes of his own, and at the very end a signature that `cryptsetup` would remove if it saw
/// it, that of an Intel RAID member.
pub(crate) fn behind(bytes: usize) -> Vec<u8> {
    let mut all = vec![0xcc; bytes];
    let signature = b"Intel Raid ISM Cfg Sig. ";
    let at = bytes - 1024;
    all[at..at + signature.len()].copy_from_slice(signature);
    all
}

/// Takes a device for oneself, as a mount or a mapping does.
pub(crate) fn claim(device: &Loop) -> fs::File {
    use std::os::unix::fs::OpenOptionsExt;
    fs::File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::EXCL.bits().cast_signed())
        .open(&device.path)
        .unwrap()
}
