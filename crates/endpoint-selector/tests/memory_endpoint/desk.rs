use std::path::Path;

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, DiskFacts, DiskLocation, Endpoint, EndpointError, ErrorKind, HostAnswer,
    HostCommand, InspectDisk, Protection, SourceImage, VerifyDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, EncryptionFormat, GuestSize, HostFacts};

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn guest(bytes: u64) -> GuestSize {
    GuestSize::new(bytes).unwrap()
}

pub(crate) fn file(path: &str) -> DiskLocation {
    DiskLocation::File(path.into())
}

pub(crate) fn image(path: &str) -> SourceImage<'_> {
    SourceImage::new(Path::new(path), DiskFormat::Raw)
}

pub(crate) fn luks(format: EncryptionFormat, key: &Passphrase) -> Protection<'_> {
    Protection::Luks { format, key }
}

/// An endpoint and a key.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) node: MemoryEndpoint,
    pub(crate) call: Call,
    pub(crate) key: Passphrase,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let node = MemoryEndpoint::new(HostFacts::new("node-1".parse().unwrap()));
        Self {
            node,
            call: Call::new(),
            key: Passphrase::generate().unwrap(),
        }
    }

    pub(crate) fn luks1(&self) -> Protection<'_> {
        luks(EncryptionFormat::Luks1, &self.key)
    }

    pub(crate) fn run<'c>(&self, command: impl Into<HostCommand<'c>>) -> Result<HostAnswer, EndpointError> {
        self.node.run(&self.call, &command.into())
    }

    /// Runs a command that answers with a disk.
    #[track_caller]
    pub(crate) fn disk<'c>(&self, command: impl Into<HostCommand<'c>>) -> DiskFacts {
        match self.run(command).unwrap() {
            HostAnswer::Disk(facts) => facts,
            other => panic!("not a disk: {other:?}"),
        }
    }

    /// Makes a blank disk of 1 MiB.
    #[track_caller]
    pub(crate) fn create(&self, path: &str, format: DiskFormat, protection: Protection<'_>) -> DiskFacts {
        self.disk(CreateDisk::new(
            path.as_ref(),
            format,
            guest(MIB),
            protection,
            DiskContent::Blank,
        ))
    }

    #[track_caller]
    pub(crate) fn inspect(&self, facts: &DiskFacts) -> DiskFacts {
        self.disk(InspectDisk::new(&facts.location, facts.format, facts.encryption))
    }

    pub(crate) fn verify(
        &self,
        facts: &DiskFacts,
        protection: Protection<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        self.run(VerifyDisk::new(Disk::new(
            &facts.location,
            facts.format,
            protection,
        )))
    }
}

/// Fails unless the command failed in this way with these words.
#[track_caller]
pub(crate) fn refused(result: Result<HostAnswer, EndpointError>, kind: ErrorKind, words: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(
            error.message().contains(word),
            "{word:?} is not in {:?}",
            error.message()
        );
    }
}
