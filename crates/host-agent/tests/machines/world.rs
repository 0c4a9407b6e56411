//! A host of the lab, an agent that works on it, and volumes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_endpoint_selector::{
    Boot, CreateDisk, Disk, DiskContent, DiskFacts, DiskLocation, Endpoint, EndpointError, ErrorKind,
    HostAnswer, HostCommand, InspectVm, Protection, StartVm, StopVm, StopVmHow, Vm, VmDisk, VmFacts,
};
use strongroom_exec::fake::RecordingRunner;
use strongroom_exec::{Runner, SystemRunner};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_lab::{Console, GuestImage, Hypervisor, Hypervisors, LabPlan};
use strongroom_secret::Passphrase;
use strongroom_types::{
    ByteSize, Call, DiskFormat, DiskTarget, EncryptionFormat, GuestSize, PassphraseId, VmId, VolumeId,
};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const QCOW2: DiskFormat = DiskFormat::Qcow2;
pub(crate) const RAW: DiskFormat = DiskFormat::Raw;

pub(crate) struct World {
    pub(crate) agent: HostAgent,
    pub(crate) runner: Arc<RecordingRunner>,
    pub(crate) lab: Hypervisors,
    pub(crate) vm: VmId,
    image: GuestImage,
}

pub(crate) fn size(bytes: u64) -> GuestSize {
    GuestSize::new(bytes).unwrap()
}

pub(crate) fn luks(key: &Passphrase) -> Protection<'_> {
    Protection::Luks {
        format: EncryptionFormat::Luks1,
        key,
    }
}

/// A volume in a file or on a device, its key, and where a guest has it.
pub(crate) struct Volume {
    pub(crate) id: VolumeId,
    pub(crate) passphrase: PassphraseId,
    pub(crate) target: DiskTarget,
    pub(crate) location: DiskLocation,
    pub(crate) format: DiskFormat,
    pub(crate) key: Option<Passphrase>,
}

impl Volume {
    /// An encrypted one with a new key, that is not there yet.
    pub(crate) fn named(path: impl Into<PathBuf>, format: DiskFormat, target: &str) -> Self {
        let path = path.into();
        let name = path.file_stem().unwrap().to_str().unwrap().replace('.', "-");
        Self {
            id: name.parse().unwrap(),
            passphrase: "pp-1".parse().unwrap(),
            target: target.parse().unwrap(),
            location: DiskLocation::File(path),
            format,
            key: Some(Passphrase::generate().unwrap()),
        }
    }

    pub(crate) fn plain(mut self) -> Self {
        self.key = None;
        self
    }

    pub(crate) fn on_device(mut self, path: &str) -> Self {
        self.location = DiskLocation::block(path);
        self
    }

    pub(crate) fn protection(&self) -> Protection<'_> {
        self.key.as_ref().map_or(Protection::Plain, luks)
    }

    pub(crate) fn disk(&self) -> Disk<'_> {
        Disk::new(&self.location, self.format, self.protection())
    }

    pub(crate) fn for_guest(&self) -> VmDisk<'_> {
        VmDisk::new(&self.target, &self.id, self.disk()).opened_by(Some(&self.passphrase))
    }

    /// The same with another key.
    pub(crate) fn opened_with<'a>(&'a self, key: &'a Passphrase) -> VmDisk<'a> {
        let disk = Disk::new(&self.location, self.format, luks(key));
        VmDisk::new(&self.target, &self.id, disk).opened_by(Some(&self.passphrase))
    }

    pub(crate) fn path(&self) -> &Path {
        self.location.path()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(LabPlan::new().one_host())
    }

    pub(crate) fn with(plan: LabPlan) -> Self {
        let lab = plan.up().unwrap();
        let runner = Arc::new(RecordingRunner::around(SystemRunner::new()));
        Self {
            agent: agent(lab.first(), runner.clone()),
            runner,
            lab,
            vm: "vm-1".parse().unwrap(),
            image: GuestImage::ready().unwrap(),
        }
    }

    pub(crate) fn host(&self) -> &Hypervisor {
        self.lab.first()
    }

    /// A path that is the same for the host and for the agent.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.host().shared().join(name)
    }

    pub(crate) fn run<'c>(&self, command: impl Into<HostCommand<'c>>) -> Result<HostAnswer, EndpointError> {
        self.agent.run(&Call::new(), &command.into())
    }

    #[track_caller]
    pub(crate) fn ask<'c>(&self, command: impl Into<HostCommand<'c>>) -> VmFacts {
        match self.run(command) {
            Ok(HostAnswer::Vm(facts)) => facts,
            Err(error) => panic!("{error}\n{}", self.host().logs()),
            other => panic!("no machine: {other:?}"),
        }
    }

    /// Makes a volume of 64 MiB in a file of the host.
    pub(crate) fn volume(&self, name: &str, format: DiskFormat, target: &str) -> Volume {
        self.made(Volume::named(self.path(name), format, target), DiskContent::Blank)
    }

    pub(crate) fn plain_volume(&self, name: &str, format: DiskFormat, target: &str) -> Volume {
        let volume = Volume::named(self.path(name), format, target).plain();
        self.made(volume, DiskContent::Blank)
    }

    #[track_caller]
    pub(crate) fn made(&self, volume: Volume, content: DiskContent<'_>) -> Volume {
        let create = CreateDisk::new(
            volume.path(),
            volume.format,
            size(64 * MIB),
            volume.protection(),
            content,
        );
        match self.run(create) {
            Ok(HostAnswer::Disk(DiskFacts { .. })) => volume,
            other => panic!("{other:?}"),
        }
    }

    /// A machine that boots the lab's guest, with its console.
    pub(crate) fn machine<'a>(&'a self, id: &'a VmId, console: &'a Path, disks: &'a [VmDisk<'a>]) -> Vm<'a> {
        let boot = Boot::Kernel {
            kernel: &self.image.kernel,
            initramfs: Some(&self.image.initramfs),
            command_line: &self.image.cmdline,
        };
        Vm::new(id, ByteSize::mib(160), 1, boot)
            .with_disks(disks)
            .with_console(console)
    }

    pub(crate) fn start_paused(&self, disks: &[VmDisk<'_>]) -> Result<HostAnswer, EndpointError> {
        let console = self.path("vm-1.console");
        self.run(StartVm::new(self.machine(&self.vm, &console, disks).paused()))
    }

    #[track_caller]
    pub(crate) fn start(&self, disks: &[VmDisk<'_>]) -> Console {
        let console = self.path("vm-1.console");
        self.ask(StartVm::new(self.machine(&self.vm, &console, disks)));
        Console::connect(&console).unwrap()
    }

    #[track_caller]
    pub(crate) fn power_off(&self) {
        let stop = StopVm::new(&self.vm, StopVmHow::PowerOff);
        assert_eq!(self.run(stop).unwrap(), HostAnswer::Done);
    }

    #[track_caller]
    pub(crate) fn inspect(&self) -> VmFacts {
        self.ask(InspectVm::new(&self.vm))
    }

    /// Fails when libvirt has a secret.
    #[track_caller]
    pub(crate) fn no_secrets(&self) {
        assert_eq!(self.secrets(), "");
    }

    pub(crate) fn secrets(&self) -> String {
        self.virsh(&["secret-list"])
    }

    /// Fails when a machine runs.
    #[track_caller]
    pub(crate) fn nothing_runs(&self) {
        assert_eq!(self.virsh(&["list", "--all", "--name"]), "");
    }

    #[track_caller]
    pub(crate) fn virsh(&self, words: &[&str]) -> String {
        let done = self.host().virsh(words.iter().copied()).unwrap();
        assert_eq!(done.code, 0, "{words:?}: {}", done.message());
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

pub(crate) fn agent(host: &Hypervisor, runner: Arc<dyn Runner>) -> HostAgent {
    HostAgent::new(host.name().parse().unwrap(), ToolPaths::system(), runner)
        .with_hypervisor(host.uri().parse().unwrap())
}

/// Fails unless the command failed in this way with these words.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, EndpointError>, kind: ErrorKind, words: &[&str]) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.message().contains(word), "{word:?} is not in {error}");
    }
}
