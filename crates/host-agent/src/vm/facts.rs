use serde_json::{Map, Value};
use strongroom_endpoint_selector::{
    DiskLocation, EndpointError, ErrorKind, HostAnswer, InspectVm, VmDiskFacts, VmFacts, VmState,
};
use strongroom_libvirt::{LiveDisk, LiveDomain, LiveImage, Machine, Source};
use strongroom_types::VmId;

use super::node_graph::{self, NodeGraph};
use super::session::Session;

pub(super) fn inspect(session: &Session<'_>, c: &InspectVm<'_>) -> Result<HostAnswer, EndpointError> {
    answer(session, c.vm)
}

/// How a machine is, as libvirt and QEMU tell it.
pub(super) fn answer(session: &Session<'_>, vm: &VmId) -> Result<HostAnswer, EndpointError> {
    facts(session, vm, &session.described(vm)?).map(HostAnswer::Vm)
}

pub(super) fn facts(session: &Session<'_>, vm: &VmId, domain: &LiveDomain) -> Result<VmFacts, EndpointError> {
    let machine = session.machine(vm);
    let graph = NodeGraph::of(session, &machine)?;
    let disks = domain
        .disks
        .iter()
        .map(|disk| disk_facts(session, &graph, disk))
        .collect::<Result<_, _>>()?;
    Ok(VmFacts::new(vm.clone(), state(session, &machine)?, disks))
}

fn disk_facts(
    session: &Session<'_>,
    graph: &NodeGraph,
    disk: &LiveDisk,
) -> Result<VmDiskFacts, EndpointError> {
    let reads = graph.reads(session, &disk.image)?;
    if disk.image.encryption.is_some() && reads.encryption.is_none() {
        tracing::error!(target = %disk.target, "libvirt says that a disk is encrypted, and QEMU writes it in clear");
    }
    let below = disk
        .backing
        .iter()
        .map(|image| location(session, image))
        .collect::<Result<_, _>>()?;
    Ok(VmDiskFacts::new(
        disk.target.clone(),
        location(session, &disk.image)?,
        node_graph::format(session, &disk.image)?,
        reads.encryption,
        reads.guest,
    )
    .on(below))
}

/// Where an image lies.
pub(super) fn location(session: &Session<'_>, image: &LiveImage) -> Result<DiskLocation, EndpointError> {
    match &image.source {
        Some(Source::File(path)) => Ok(DiskLocation::file(path)),
        Some(Source::Block(path)) => Ok(DiskLocation::block(path)),
        _ => {
            let message = "a disk lies neither in a file nor on a block device; somebody else attached it";
            Err(session.error(ErrorKind::WrongDisk, message))
        }
    }
}

/// Whether its processors run, by the words of QEMU's `RunState` (`qapi/run-state.json`).
pub(super) fn state(session: &Session<'_>, machine: &Machine<'_>) -> Result<VmState, EndpointError> {
    let status = machine
        .monitor(session.call, "query-status", Map::new())
        .map_err(|e| session.failed(e))?;
    let word = status.get("status").and_then(Value::as_str).unwrap_or_default();
    Ok(match word {
        "running" => VmState::Running,
        "io-error" | "internal-error" | "guest-panicked" => VmState::Stopped,
        "shutdown" => VmState::ShuttingDown,
        _ => VmState::Paused,
    })
}
