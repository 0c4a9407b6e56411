//! A pool directory and an agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, DiskFacts, DiskLocation, Endpoint, EndpointError, HostAnswer, HostCommand,
    Protection, SourceImage, Verification, VerifyDisk,
};
use strongroom_exec::{CommandSpec, Completed, Program, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, EncryptionFormat, GuestSize};

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
        match self.run(VerifyDisk::new(Disk {
            location,
            format,
            protection,
        }))? {
            HostAnswer::Verified(verified) => Ok(verified),
            other => panic!("{other:?}"),
        }
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

/// Runs a tool for the test's own purposes.
#[track_caller]
pub(crate) fn tool(name: &str, args: &[&str]) -> Completed {
    let program = Program::find(name).unwrap_or_else(|e| panic!("{e}: cargo xtask setup installs it"));
    SystemRunner::new()
        .run(&CommandSpec::new(program).args(args), &Watch::nobody())
        .unwrap()
}

pub(crate) fn raw(path: &Path) -> SourceImage<'_> {
    SourceImage {
        path,
        format: DiskFormat::Raw,
    }
}

/// Bytes in which every sector is another.
pub(crate) fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8)
        .flat_map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes())
        .collect()
}
