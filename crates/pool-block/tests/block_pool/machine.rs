use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_endpoint_selector::{
    CompareContent, ContentSource, CreateDisk, Declassification, DigestContent, Disk, DiskContent,
    DiskLocation, Endpoint, HostAnswer, HostCommand, IdentifyDevice, Protection, ReplaceContent, Sameness,
    SourceImage, VerifyDisk,
};
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_pool_block::{DeviceShelf, ShelfDevice};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, EncryptionFormat};
use tempfile::TempDir;

use crate::site::{Site, guest, pool_id};

/// Runs a tool of Debian's package `mount` as root.
#[track_caller]
pub(crate) fn tool(name: &str, args: &[&str]) -> String {
    let program = Program::find(name).unwrap_or_else(|e| panic!("{e}; it is in Debian's package mount"));
    let command = CommandSpec::new(program).args(args);
    let done = SystemRunner::new().run(&command, &Watch::nobody()).unwrap();
    assert_eq!(
        done.code,
        0,
        "{name} {args:?} (run the tests as root): {}",
        done.message()
    );
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// A loop device that the kernel detaches when this is dropped, and when the test is killed.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) path: PathBuf,
    pub(crate) backing: PathBuf,
    _open: File,
}

impl Loop {
    pub(crate) fn on(backing: PathBuf) -> Self {
        let path = tool("losetup", &["--find", "--show", backing.to_str().unwrap()]);
        let open = File::open(&path).unwrap();
        // Of a device that is open, this only says that it is detached when nobody has it open any more: losetup(8).
        tool("losetup", &["--detach", &path]);
        Self {
            path: path.into(),
            backing,
            _open: open,
        }
    }

    /// Makes the backing file larger. The kernel does not notice.
    pub(crate) fn grow(&self, bytes: u64) {
        let file = File::options().write(true).open(&self.backing).unwrap();
        file.set_len(bytes).unwrap();
    }

    /// What the device has from here on, through the kernel.
    pub(crate) fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        File::open(&self.path)
            .unwrap()
            .read_exact_at(&mut bytes, at)
            .unwrap();
        bytes
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, at).unwrap();
        file.sync_all().unwrap();
    }
}

/// This machine with loop devices and the real tools.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) loops: Vec<Loop>,
    pub(crate) place: TempDir,
    pub(crate) agent: Arc<HostAgent>,
}

impl Machine {
    /// With loop devices of these sizes.
    pub(crate) fn new(sizes: &[u64]) -> Self {
        let place = tempfile::tempdir().unwrap();
        let agent = HostAgent::new(
            "node".parse().unwrap(),
            ToolPaths::system(),
            Arc::new(SystemRunner::new()),
        );
        agent.reach(pool_id());
        let facts = agent.probe(&Call::new(), place.path()).unwrap();
        assert!(
            facts.capabilities.encryption_supported(),
            "this test needs qemu-img and cryptsetup (Debian: qemu-utils, cryptsetup-bin): {:?}",
            facts.capabilities
        );
        let loops = sizes.iter().enumerate().map(|(number, bytes)| {
            let backing = place.path().join(format!("backing-{number}"));
            File::create_new(&backing).unwrap().set_len(*bytes).unwrap();
            Loop::on(backing)
        });
        Self {
            loops: loops.collect(),
            place,
            agent: Arc::new(agent),
        }
    }

    /// The devices as the host says them now.
    pub(crate) fn devices(&self) -> Vec<ShelfDevice> {
        let device = |of: &Loop| {
            let HostAnswer::Device(facts) = self.run(IdentifyDevice::new(&of.path)) else {
                panic!("not a device")
            };
            ShelfDevice::new(&of.path, facts.size, facts.serial)
        };
        self.loops.iter().map(device).collect()
    }

    /// A pool on these devices as a program that was just started opens it.
    pub(crate) fn site_with(&self, devices: Vec<ShelfDevice>) -> Site<DeviceShelf> {
        let file = self.place.path().join("shelf");
        let shelf = DeviceShelf::open(pool_id(), file, devices).unwrap();
        Site::new(shelf, self.agent.clone())
    }

    pub(crate) fn site(&self) -> Site<DeviceShelf> {
        self.site_with(self.devices())
    }

    /// A raw image of this size whose sectors all differ from `seed` to `seed`.
    pub(crate) fn image(&self, name: &str, seed: u8, size: u64) -> PathBuf {
        let path = self.place.path().join(name);
        let bytes: Vec<_> = (0..size)
            .map(|i| (i / 512) as u8 ^ (i % 251) as u8 ^ seed)
            .collect();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn write(&self, disk: Disk<'_>, image: &Path) {
        self.run(ReplaceContent::new(disk, raw(image)));
    }

    pub(crate) fn holds(&self, disk: Disk<'_>, image: &Path) -> bool {
        self.run(CompareContent::new(disk, raw(image))) == HostAnswer::Compared(Sameness::Identical)
    }

    /// The digest of what a guest reads.
    pub(crate) fn digest(&self, disk: Disk<'_>) -> String {
        match self.run(DigestContent::new(disk)) {
            HostAnswer::Digest(digest) => digest.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// All that a guest reads of an encrypted disk.
    pub(crate) fn content(&self, disk: Disk<'_>, bytes: u64) -> Vec<u8> {
        let path = self.place.path().join("content");
        let content = DiskContent::Declassified(disk, Declassification { reason: "a test" });
        let guest = guest(bytes);
        self.run(CreateDisk::new(
            &path,
            DiskFormat::Raw,
            guest,
            Protection::Plain,
            content,
        ));
        let read = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        read
    }

    #[track_caller]
    pub(crate) fn verify(&self, disk: Disk<'_>) {
        self.run(VerifyDisk::new(disk));
    }

    #[track_caller]
    fn run<'c>(&self, command: impl Into<HostCommand<'c>>) -> HostAnswer {
        self.agent.run(&Call::new(), &command.into()).unwrap()
    }
}

fn raw(path: &Path) -> ContentSource<'_> {
    SourceImage::new(path, DiskFormat::Raw).into()
}

/// A disk of this pool and what opens it; no key for a plain one.
pub(crate) fn disk<'a>(
    location: &'a DiskLocation,
    format: DiskFormat,
    key: Option<&'a Passphrase>,
) -> Disk<'a> {
    let protection = key.map_or(Protection::Plain, |key| Protection::Luks {
        format: EncryptionFormat::Luks1,
        key,
    });
    Disk::new(location, format, protection)
}
