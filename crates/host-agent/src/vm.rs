//! Virtual machines, by a libvirt of this machine.

mod at_once;
mod attach;
mod back_up;
mod copy;
mod facts;
mod grow;
mod guest_disk;
mod incoming;
mod key;
mod keys;
mod libvirt_failure;
mod memory;
mod migrate;
mod new_image;
mod node_graph;
mod power;
mod probe;
mod reconcile;
mod runtime;
mod session;
mod snapshot;
mod start;
mod work;

use std::sync::OnceLock;

use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostAnswer, VmCommand};
use strongroom_libvirt::{Accelerator, Uri};
use strongroom_types::{Call, Capability, CapabilityReport};

pub(crate) use self::probe::{find, probes};
use self::session::Session;
use crate::tools::Tools;

/// What to do for virtual machines.
const NO_HYPERVISOR: &str = "this agent was started without a hypervisor; on Debian, install libvirt-daemon-system, \
    libvirt-daemon-driver-qemu, libvirt-clients and qemu-system-x86, and give the agent libvirt's URI, such as qemu:///system";

/// The libvirt that runs this host's virtual machines.
#[derive(Debug)]
pub(crate) struct Hypervisor {
    uri: Uri,
    /// Found out once: asking takes libvirt a while.
    accelerator: OnceLock<Accelerator>,
}

impl Hypervisor {
    pub(crate) fn new(uri: Uri) -> Self {
        let accelerator = OnceLock::new();
        Self { uri, accelerator }
    }
}

/// Carries out a command on a virtual machine.
pub(crate) fn run(
    hypervisor: Option<&Hypervisor>,
    tools: &Tools,
    call: &Call,
    seen: &CapabilityReport,
    command: &VmCommand<'_>,
) -> Result<HostAnswer, EndpointError> {
    let operation = command.name();
    let Some(hypervisor) = hypervisor else {
        return Err(EndpointError::new(
            ErrorKind::Unsupported,
            operation,
            NO_HYPERVISOR,
        ));
    };
    let mut session = Session::open(hypervisor, tools, call, operation)?;
    session.changes_keyslots = seen.has(Capability::LiveKeyslotChange);
    match command {
        VmCommand::StartVm(c) => start::start(&session, c),
        VmCommand::StopVm(c) => power::stop(&session, c),
        VmCommand::PauseVm(c) => power::pause(&session, c),
        VmCommand::ResumeVm(c) => power::resume(&session, c),
        VmCommand::InspectVm(c) => facts::inspect(&session, c),
        VmCommand::ReconcileVms(c) => reconcile::reconcile(&session, c),
        VmCommand::AttachVmDisk(c) => attach::attach(&session, c),
        VmCommand::DetachVmDisk(c) => attach::detach(&session, c),
        VmCommand::GrowVmDisk(c) => grow::grow(&session, c),
        VmCommand::SnapshotVmDisks(c) => snapshot::snapshot(&session, c),
        VmCommand::MergeVmDisk(c) => snapshot::merge(&session, c),
        VmCommand::CopyVmDisk(c) => copy::copy(&session, c),
        VmCommand::BackUpVmDisks(c) => back_up::back_up(&session, c),
        VmCommand::ChangeVmDiskKey(c) => key::change(&session, c),
        VmCommand::SaveVm(c) => memory::save(&session, c),
        VmCommand::RestoreVm(c) => memory::restore(&session, c),
        VmCommand::PrepareIncomingVm(c) => incoming::prepare(&session, c),
        VmCommand::MigrateVm(c) => migrate::migrate(&session, c),
        VmCommand::FinishIncomingVm(c) => incoming::finish(&session, c),
        VmCommand::FlattenVmDisk(c) => copy::flatten(&session, c),
        other => {
            let message = "this agent does not know the command; it is older than whoever asks";
            Err(EndpointError::new(ErrorKind::Unsupported, other.name(), message))
        }
    }
}
