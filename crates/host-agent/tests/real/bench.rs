//! A pool directory and an agent.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{major, minor};
use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, DiskFacts, DiskLocation, Endpoint, EndpointError, HostAnswer, HostCommand,
    Protection, SourceImage, Verification, VerifyDisk,
};
use strongroom_exec::{CommandSpec, Completed, Program, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, Cancellation, DiskFormat, EncryptionFormat, GuestSize};

pub(crate) const LUKS1: EncryptionFormat = EncryptionFormat::Luks1;

/// A directory with an agent that works in it.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) place: tempfile::TempDir,
    pub(crate) agent: HostAgent,
    pub(crate) key: Passphrase,
}

pub(crate) fn size(bytes: u64) -> GuestSize {
    GuestSize::new(bytes).unwrap()
}

impl Bench {
    pub(crate) fn new() -> Self {
        let agent = HostAgent::new(
            "here".parse().unwrap(),
            ToolPaths::system(),
            Arc::new(SystemRunner::new()),
        );
        Self {
            place: tempfile::tempdir().unwrap(),
            agent,
            key: Passphrase::generate().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn at(&self, name: &str) -> DiskLocation {
        DiskLocation::File(self.path(name))
    }

    pub(crate) fn luks(&self) -> Protection<'_> {
        Protection::Luks {
            format: LUKS1,
            key: &self.key,
        }
    }

    pub(crate) fn run<'a>(&self, command: impl Into<HostCommand<'a>>) -> Result<HostAnswer, EndpointError> {
        self.agent.run(&Call::new(), &command.into())
    }

    #[track_caller]
    pub(crate) fn disk<'a>(&self, command: impl Into<HostCommand<'a>>) -> DiskFacts {
        match self.run(command) {
            Ok(HostAnswer::Disk(facts)) => facts,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn create(
        &self,
        name: &str,
        format: DiskFormat,
        guest: u64,
        protection: Protection<'_>,
    ) -> Result<DiskFacts, EndpointError> {
        let path = self.path(name);
        match self.run(CreateDisk::new(
            &path,
            format,
            size(guest),
            protection,
            DiskContent::Blank,
        ))? {
            HostAnswer::Disk(facts) => Ok(facts),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn verify(
        &self,
        location: &DiskLocation,
        format: DiskFormat,
        protection: Protection<'_>,
    ) -> Result<Verification, EndpointError> {
        match self.run(VerifyDisk::new(Disk::new(location, format, protection)))? {
            HostAnswer::Verified(verified) => Ok(verified),
            other => panic!("{other:?}"),
        }
    }

    /// Does something while a QEMU tool has a file open, as a virtual machine would have it.
    pub(crate) fn while_qemu_has_open<T>(&self, name: &str, work: impl FnOnce() -> T) -> T {
        let path = self.path(name);
        let program =
            Program::find("qemu-io").unwrap_or_else(|e| panic!("{e}: cargo xtask setup installs it"));
        let driver = if path.metadata().unwrap().is_file() {
            "file"
        } else {
            "host_device"
        };
        // A device of a virtual machine lets nobody else write; qemu-io itself would.
        let image = format!(
            "driver=blkdebug,unshare-child-perms.0=write,unshare-child-perms.1=resize,image.driver={driver},image.filename={}",
            path.display()
        );
        let command = CommandSpec::new(program).args(["-c", "sleep 60000", "--image-opts", &image]);
        let cancellation = Cancellation::new();
        let call = Call::new().with_cancellation(cancellation.clone());
        let metadata = fs::metadata(&path).unwrap();
        let mut inode = format!(":{} ", metadata.ino());
        if metadata.file_type().is_block_device() {
            // Devices have small numbers, which files elsewhere have too.
            let (major, minor) = (major(metadata.dev()), minor(metadata.dev()));
            inode.insert_str(0, &format!(" {major:02x}:{minor:02x}"));
        }
        std::thread::scope(|scope| {
            let opened = scope.spawn(|| SystemRunner::new().run(&command, &Watch::call(&call)));
            // The lock is there when the kernel lists it.
            while !fs::read_to_string("/proc/locks").unwrap().contains(&inode) {
                assert!(!opened.is_finished(), "{:?}", opened.join());
                std::thread::yield_now();
            }
            let _end = End(cancellation);
            work()
        })
    }

    /// The names in the directory.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.place.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Ends a tool however the test ends.
struct End(Cancellation);

impl Drop for End {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs a tool for the test's own purposes.
#[track_caller]
pub(crate) fn tool(name: &str, args: &[&str]) -> Completed {
    let program = Program::find(name).unwrap_or_else(|e| panic!("{e}: cargo xtask setup installs it"));
    SystemRunner::new()
        .run(&CommandSpec::new(program).args(args), &Watch::nobody())
        .unwrap()
}

pub(crate) fn raw(path: &Path) -> SourceImage<'_> {
    SourceImage::new(path, DiskFormat::Raw)
}

/// Bytes in which every sector is another.
pub(crate) fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8)
        .flat_map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes())
        .collect()
}
