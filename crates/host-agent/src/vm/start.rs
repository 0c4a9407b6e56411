use strongroom_endpoint_selector::{Boot, EndpointError, ErrorKind, HostAnswer, StartVm, Vm, VmState};
use strongroom_libvirt::{Domain, DomainDisk, LibvirtError, LiveDomain, Serial};

use super::at_once::at_once;
use super::guest_disk::{self, GuestDisk};
use super::keys::Keys;
use super::node_graph::NodeGraph;
use super::session::{Session, to_its_end};
use super::{facts, work};
use crate::reading;

pub(super) fn start(session: &Session<'_>, c: &StartVm<'_>) -> Result<HostAnswer, EndpointError> {
    begin(session, &c.vm, |disks| {
        let domain = domain(session, &c.vm, disks)?;
        session
            .libvirt
            .start(&to_its_end(), &domain, true)
            .map_err(|e| session.failed(e))
    })
}

/// Looks at the disks of a machine, lets `make` make it, paused, with their keys in libvirt, and looks at what it has.
pub(super) fn begin(
    session: &Session<'_>,
    vm: &Vm<'_>,
    make: impl FnOnce(&[DomainDisk]) -> Result<(), EndpointError>,
) -> Result<HostAnswer, EndpointError> {
    sound(session, vm)?;
    let _held = session.hold_vm(vm.id)?;
    if let Some(answer) = running_already(session, vm)? {
        return Ok(answer);
    }
    work::undo(session, vm.id)?;
    let opened = at_once(vm.disks, |disk| GuestDisk::open(session, vm.id, disk));
    let disks = opened.into_iter().collect::<Result<Vec<_>, _>>()?;
    // What libvirt cannot be told is refused before a key goes anywhere.
    let domain_disks: Vec<DomainDisk> = disks.iter().map(|disk| disk.domain_disk.clone()).collect();
    domain(session, vm, &domain_disks)?;
    session.go_on()?;
    session.runtime.mark_starting(session.operation, vm.id)?;
    let made = create(session, vm, &disks, || make(&domain_disks));
    if made.is_err() {
        undo(session, vm)?;
    }
    made?;
    facts::answer(session, vm.id)
}

/// Fails for what no machine can be.
fn sound(session: &Session<'_>, vm: &Vm<'_>) -> Result<(), EndpointError> {
    let (kernel, initramfs) = match vm.boot {
        Boot::Disk => (None, None),
        Boot::Kernel {
            kernel, initramfs, ..
        } => (Some(kernel), initramfs),
        _ => (None, None),
    };
    for path in [kernel, initramfs, vm.console].into_iter().flatten() {
        reading::absolute(session.operation, path)?;
    }
    let mut targets: Vec<_> = vm.disks.iter().map(|disk| disk.target).collect();
    targets.sort();
    if let Some(pair) = targets.windows(2).find(|pair| pair.first() == pair.last()) {
        let message = format!(
            "two disks are to be {}",
            pair.first().map_or("", |target| target.as_str())
        );
        return Err(session.error(ErrorKind::InvalidRequest, message));
    }
    Ok(())
}

/// The answer when the machine runs with these disks. One that was begun and whose guest never ran is taken away.
fn running_already(session: &Session<'_>, vm: &Vm<'_>) -> Result<Option<HostAnswer>, EndpointError> {
    let domain = match session.machine(vm.id).describe(session.call) {
        Err(LibvirtError::NoDomain { .. }) => return Ok(None),
        described => described.map_err(|e| session.failed(e))?,
    };
    if undo_unfinished(session, vm, &domain)? {
        return Ok(None);
    }
    let same = domain.disks.len() == vm.disks.len()
        && vm
            .disks
            .iter()
            .map(|disk| guest_disk::is_at(session, &domain, disk))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .all(|same| same);
    if same {
        return facts::facts(session, vm.id, &domain).map(|facts| Some(HostAnswer::Vm(facts)));
    }
    let message = format!("{} runs already, with other disks; stop it first", vm.id);
    Err(session.error(ErrorKind::AlreadyExists, message))
}

fn undo_unfinished(session: &Session<'_>, vm: &Vm<'_>, domain: &LiveDomain) -> Result<bool, EndpointError> {
    if !session.runtime.is_starting(vm.id) {
        return Ok(false);
    }
    let paused = facts::state(session, &session.machine(vm.id))? == VmState::Paused;
    if paused && domain.ours {
        undo(session, vm)?;
        return Ok(true);
    }
    session.runtime.unmark_starting(session.operation, vm.id)?;
    Ok(false)
}

fn domain(session: &Session<'_>, vm: &Vm<'_>, disks: &[DomainDisk]) -> Result<Domain, EndpointError> {
    let boot = match vm.boot {
        Boot::Disk => strongroom_libvirt::Boot::Disk,
        Boot::Kernel {
            kernel,
            initramfs,
            command_line,
        } => strongroom_libvirt::Boot::Kernel {
            kernel: kernel.to_owned(),
            initramfs: initramfs.map(ToOwned::to_owned),
            command_line: command_line.to_owned(),
        },
        _ => {
            let message = "this agent does not know how to boot that; it is older than whoever asks";
            return Err(session.error(ErrorKind::Unsupported, message));
        }
    };
    let mut domain = Domain::new(vm.id, session.accelerator()?, vm.memory, vm.cores, boot)
        .with_disks(disks.iter().cloned())
        .with_agent();
    if let Some(socket) = vm.console {
        domain = domain.with_serial(Serial::Socket(socket.to_owned()));
    }
    // What libvirt cannot be told is refused before a key goes anywhere.
    domain.to_element().map_err(|e| {
        session
            .error(ErrorKind::InvalidRequest, e.to_string())
            .with_source(e)
    })?;
    Ok(domain)
}

/// Makes the machine, looks at what QEMU opened, and only then lets the guest run. Its keys are gone when this returns.
fn create(
    session: &Session<'_>,
    vm: &Vm<'_>,
    disks: &[GuestDisk],
    make: impl FnOnce() -> Result<(), EndpointError>,
) -> Result<(), EndpointError> {
    let keys = Keys::load(session, vm.disks)?;
    make()?;
    keys.unload()?;
    let machine = session.machine(vm.id);
    let live = session.described(vm.id)?;
    let graph = NodeGraph::of(session, &machine)?;
    for (disk, opened) in vm.disks.iter().zip(disks) {
        let there = live
            .disk(disk.target)
            .ok_or_else(|| session.no_disk(vm.id, disk.target))?;
        graph.expect(session, &there.image, opened.reads)?;
    }
    session.go_on()?;
    if !vm.paused {
        machine.resume(&to_its_end()).map_err(|e| session.failed(e))?;
    }
    session.runtime.unmark_starting(session.operation, vm.id)
}

fn undo(session: &Session<'_>, vm: &Vm<'_>) -> Result<(), EndpointError> {
    session
        .machine(vm.id)
        .destroy(&to_its_end())
        .map_err(|e| session.failed(e))?;
    session.runtime.unmark_starting(session.operation, vm.id)
}
