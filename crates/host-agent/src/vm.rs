//! Virtual machines, by a libvirt of this machine.

mod attach;
mod facts;
mod guest_disk;
mod keys;
mod libvirt_failure;
mod node_graph;
mod power;
mod reconcile;
mod runtime;
mod session;
mod start;

use std::sync::OnceLock;

use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostAnswer, VmCommand};
use strongroom_libvirt::{Accelerator, Uri};
use strongroom_types::Call;

use self::session::Session;
use crate::tools::Tools;

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
    command: &VmCommand<'_>,
) -> Result<HostAnswer, EndpointError> {
    let operation = command.name();
    let Some(hypervisor) = hypervisor else {
        let message = "this agent was started without a hypervisor; on Debian, install libvirt-daemon-system, \
                       libvirt-daemon-driver-qemu, libvirt-clients and qemu-system-x86, and give the agent libvirt's URI, such as qemu:///system";
        return Err(EndpointError::new(ErrorKind::Unsupported, operation, message));
    };
    let session = Session::open(hypervisor, tools, call, operation)?;
    match command {
        VmCommand::StartVm(c) => start::start(&session, c),
        VmCommand::StopVm(c) => power::stop(&session, c),
        VmCommand::PauseVm(c) => power::pause(&session, c),
        VmCommand::ResumeVm(c) => power::resume(&session, c),
        VmCommand::InspectVm(c) => facts::inspect(&session, c),
        VmCommand::ReconcileVms(c) => reconcile::reconcile(&session, c),
        VmCommand::AttachVmDisk(c) => attach::attach(&session, c),
        VmCommand::DetachVmDisk(c) => attach::detach(&session, c),
        other => {
            let message = "this agent does not know the command; it is older than whoever asks";
            Err(EndpointError::new(ErrorKind::Unsupported, other.name(), message))
        }
    }
}
