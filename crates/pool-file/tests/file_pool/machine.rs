use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_endpoint_selector::{
    CompareContent, Disk, DiskLocation, Endpoint, HostAnswer, HostCommand, Protection, RegisteredEndpoints,
    ReplaceContent, Sameness, SourceImage,
};
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_pool_file::FilePoolConfig;
use strongroom_types::{Call, DiskFormat, EncryptionFormat};
use tempfile::TempDir;

use crate::site::Site;

/// This machine with a pool directory and the real tools.
#[derive(Debug)]
pub(crate) struct Machine {
    place: TempDir,
    agent: Arc<HostAgent>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("pool")).unwrap();
        let agent = HostAgent::new(
            "here".parse().unwrap(),
            ToolPaths::system(),
            Arc::new(SystemRunner::new()),
        );
        agent.reach("main".parse().unwrap());
        let facts = agent.probe(&Call::new(), place.path()).unwrap();
        assert!(
            facts.capabilities.encryption_supported(),
            "this test needs qemu-img and cryptsetup (Debian: qemu-utils, cryptsetup-bin): {:?}",
            facts.capabilities
        );
        Self {
            place,
            agent: Arc::new(agent),
        }
    }

    pub(crate) fn pool(&self) -> PathBuf {
        self.place.path().join("pool")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn config(&self) -> FilePoolConfig {
        FilePoolConfig::new("main".parse().unwrap(), self.pool())
    }

    /// A pool as a program that was just started opens it.
    pub(crate) fn site(&self) -> Site<RegisteredEndpoints> {
        self.site_with(self.config())
    }

    pub(crate) fn site_with(&self, config: FilePoolConfig) -> Site<RegisteredEndpoints> {
        let mut hosts = RegisteredEndpoints::new();
        hosts.register(self.agent.clone());
        Site::new(config, hosts)
    }

    /// The names in the pool.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.pool()).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A raw image of this size whose sectors all differ from `seed` to `seed`.
    pub(crate) fn image(&self, name: &str, seed: u8, size: usize) -> PathBuf {
        let path = self.path(name);
        let bytes: Vec<_> = (0..size)
            .map(|i| (i / 512) as u8 ^ (i % 251) as u8 ^ seed)
            .collect();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn replace(&self, file: &str, protection: Protection<'_>, image: &Path) {
        let location = DiskLocation::File(self.pool().join(file));
        let disk = Disk::new(&location, DiskFormat::Qcow2, protection);
        let source = SourceImage {
            path: image,
            format: DiskFormat::Raw,
        };
        self.run(ReplaceContent::new(disk, source.into()));
    }

    pub(crate) fn holds(
        &self,
        file: &str,
        format: DiskFormat,
        protection: Protection<'_>,
        image: &Path,
    ) -> bool {
        let location = DiskLocation::File(self.pool().join(file));
        let disk = Disk::new(&location, format, protection);
        let source = SourceImage {
            path: image,
            format: DiskFormat::Raw,
        };
        self.run(CompareContent::new(disk, source.into())) == HostAnswer::Compared(Sameness::Identical)
    }

    #[track_caller]
    fn run<'c>(&self, command: impl Into<HostCommand<'c>>) -> HostAnswer {
        self.agent.run(&Call::new(), &command.into()).unwrap()
    }
}

pub(crate) fn luks1(key: &strongroom_secret::Passphrase) -> Protection<'_> {
    Protection::Luks {
        format: EncryptionFormat::Luks1,
        key,
    }
}

/// A small file system that is mounted until it is dropped.
#[derive(Debug)]
pub(crate) struct Mount(PathBuf);

impl Mount {
    pub(crate) fn tmpfs(at: PathBuf, size: &str) -> Self {
        let options = format!("size={size},mode=0700");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "tmpfs", at.to_str().unwrap()],
        );
        Self(at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

#[track_caller]
fn run(tool: &str, args: &[&str]) {
    let program = Program::find(tool).unwrap_or_else(|e| panic!("{e}; it is in Debian's package mount"));
    let command = CommandSpec::new(program).args(args);
    let done = SystemRunner::new().run(&command, &Watch::nobody()).unwrap();
    assert_eq!(done.code, 0, "{tool} {args:?} (run the tests as root): {done:?}");
}
