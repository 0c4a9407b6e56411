use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{
    CompareContent, ContentDigest, DigestContent, Disk, DiskLocation, Endpoint, HostAnswer, HostCommand,
    Protection, RegisteredEndpoints, ReplaceContent, Sameness, SourceImage,
};
use strongroom_exec::{CommandSpec, Completed, Program, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_pool_file::FilePoolConfig;
use strongroom_storage_pool::{Attachment, PoolDriver, VolumeKey};
use strongroom_types::{Call, DiskFormat, EncryptionFormat, HostFacts};
use tempfile::TempDir;

use crate::site::{Site, volume};

/// This machine with a pool directory and the real tools.
#[derive(Debug)]
pub(crate) struct Machine {
    place: TempDir,
    agent: Arc<HostAgent>,
}

/// An agent on this machine, as every program on it has one of its own.
pub(crate) fn agent() -> Arc<HostAgent> {
    static PROBED: OnceLock<HostFacts> = OnceLock::new();
    let agent = HostAgent::new(
        "here".parse().unwrap(),
        ToolPaths::system(),
        Arc::new(SystemRunner::new()),
    );
    let facts = PROBED.get_or_init(|| {
        let scratch = tempfile::tempdir().unwrap();
        agent.probe(&Call::new(), scratch.path()).unwrap()
    });
    assert!(
        facts.capabilities.encryption_supported(),
        "this test needs qemu-img and cryptsetup (Debian: qemu-utils, cryptsetup-bin): {:?}",
        facts.capabilities
    );
    agent.restore(facts.clone());
    agent.reach("main".parse().unwrap());
    Arc::new(agent)
}

impl Machine {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("pool")).unwrap();
        Self {
            place,
            agent: agent(),
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
        let site = Self::unprepared(config, self.agent.clone());
        site.pool.prepare(&site.cx()).unwrap();
        site
    }

    /// Another program with the same pool, and an agent of its own.
    pub(crate) fn another(&self) -> Site<RegisteredEndpoints> {
        Self::unprepared(self.config(), agent())
    }

    pub(crate) fn unprepared(config: FilePoolConfig, agent: Arc<HostAgent>) -> Site<RegisteredEndpoints> {
        let mut hosts = RegisteredEndpoints::new();
        hosts.register(agent);
        Site::new(config, hosts)
    }

    /// The names in the pool, but for its mark and the directory of its templates.
    pub(crate) fn files(&self) -> Vec<String> {
        let own = [".strongroom-pool", "templates", "lost+found"];
        let mut names = names(&self.pool());
        names.retain(|name| !own.contains(&name.as_str()));
        names
    }

    /// The names in the directory of the templates.
    pub(crate) fn templates(&self) -> Vec<String> {
        names(&self.pool().join("templates"))
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

    /// Writes an image into a volume, as a guest would.
    #[track_caller]
    pub(crate) fn write(
        &self,
        site: &Site<RegisteredEndpoints>,
        name: &str,
        key: VolumeKey<'_>,
        image: &Path,
    ) {
        let at = attached(site, name);
        let source = SourceImage::new(image, DiskFormat::Raw);
        self.run(ReplaceContent::new(disk(&at, key), source.into()));
    }

    /// Whether a guest reads this image and then zeros.
    #[track_caller]
    pub(crate) fn holds(
        &self,
        site: &Site<RegisteredEndpoints>,
        name: &str,
        key: VolumeKey<'_>,
        image: &Path,
    ) -> bool {
        let at = attached(site, name);
        let source = SourceImage::new(image, DiskFormat::Raw);
        self.run(CompareContent::new(disk(&at, key), source.into()))
            == HostAnswer::Compared(Sameness::Identical)
    }

    /// What a guest would read of a raw image.
    pub(crate) fn digest(&self, image: &Path) -> ContentDigest {
        let location = DiskLocation::file(image);
        let disk = Disk::new(&location, DiskFormat::Raw, Protection::Plain);
        match self.run(DigestContent::new(disk)) {
            HostAnswer::Digest(digest) => digest,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn run<'c>(&self, command: impl Into<HostCommand<'c>>) -> HostAnswer {
        self.agent.run(&Call::new(), &command.into()).unwrap()
    }
}

/// Where a volume is for a guest.
#[track_caller]
pub(crate) fn attached(site: &Site<RegisteredEndpoints>, name: &str) -> Attachment {
    let host = "here".parse().unwrap();
    site.pool.attach(&site.cx(), &volume(name), &host).unwrap()
}

fn disk<'a>(at: &'a Attachment, key: VolumeKey<'a>) -> Disk<'a> {
    let protection = match key {
        VolumeKey::Plain => strongroom_endpoint_selector::Protection::Plain,
        VolumeKey::Encrypted(key) => strongroom_endpoint_selector::Protection::Luks {
            format: EncryptionFormat::Luks1,
            key,
        },
    };
    let location: &DiskLocation = &at.location;
    Disk::new(location, at.format, protection).on(at.base.as_ref().map(|base| base.source()))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
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

    /// An ext4 in a file, through a loop device. All of it is there for files.
    pub(crate) fn ext4(at: PathBuf, image: &Path, bytes: u64) -> Self {
        fs::File::create_new(image).unwrap().set_len(bytes).unwrap();
        let image = image.to_str().unwrap();
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-O", "^has_journal", image]);
        run("mount", &["-o", "loop", image, at.to_str().unwrap()]);
        Self(at)
    }

    pub(crate) fn writable(&self) {
        run("mount", &["-o", "remount,rw", self.0.to_str().unwrap()]);
    }

    pub(crate) fn read_only(&self) {
        while_busy("mount", &["-o", "remount,ro", self.0.to_str().unwrap()]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        while_busy("umount", &[self.0.to_str().unwrap()]);
    }
}

#[track_caller]
fn run(tool: &str, args: &[&str]) {
    let done = output(tool, args);
    assert_eq!(done.code, 0, "{tool} {args:?} (run the tests as root): {done:?}");
}

/// Again and again: a child that another test starts may for a moment hold a file that this process has open there.
#[track_caller]
fn while_busy(tool: &str, args: &[&str]) {
    let begun = Instant::now();
    loop {
        let done = output(tool, args);
        if done.code == 0 {
            return;
        }
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(60), "{tool} {args:?}: {done:?}");
    }
}

fn output(tool: &str, args: &[&str]) -> Completed {
    let program =
        Program::find(tool).unwrap_or_else(|e| panic!("{e}; it is in Debian's packages mount and e2fsprogs"));
    let command = CommandSpec::new(program).args(args);
    SystemRunner::new().run(&command, &Watch::nobody()).unwrap()
}
