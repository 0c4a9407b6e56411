use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostAnswer, ReconcileVms, VmState};
use strongroom_libvirt::{LibvirtError, SecretName};
use strongroom_types::VmId;

use super::session::{Session, to_its_end};
use super::{facts, incoming, work};

/// Undoes what commands have left that were killed. What a command works on now stays.
pub(super) fn reconcile(session: &Session<'_>, c: &ReconcileVms<'_>) -> Result<HostAnswer, EndpointError> {
    for vm in session.runtime.all_incoming() {
        if !c.incoming.contains(&&vm) {
            let _held = match session.hold_vm(&vm) {
                Err(e) if e.kind() == ErrorKind::Busy => continue,
                held => held?,
            };
            incoming::end(session, &vm, &[])?;
        }
    }
    secrets(session, &incoming::awaited(session, c.incoming))?;
    for vm in session.runtime.all_starting() {
        unfinished_start(session, &vm)?;
    }
    for vm in session.runtime.all_work() {
        let _held = match session.hold_vm(&vm) {
            Err(e) if e.kind() == ErrorKind::Busy => continue,
            held => held?,
        };
        work::undo(session, &vm)?;
    }
    let mut running = Vec::new();
    let machines = session.libvirt.machines(session.call);
    for domain in machines.map_err(|e| session.failed(e))? {
        let Some(vm) = Some(&domain.name)
            .filter(|_| domain.ours)
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        match facts::facts(session, &vm, &domain) {
            // It stopped meanwhile.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            facts => running.push(facts?),
        }
    }
    Ok(HostAnswer::Vms(running))
}

/// Takes the keys from libvirt that no command uses.
fn secrets(session: &Session<'_>, keep: &[SecretName]) -> Result<(), EndpointError> {
    let loaded = session
        .libvirt
        .secrets(session.call)
        .map_err(|e| session.failed(e))?;
    for name in loaded.into_iter().filter(|name| !keep.contains(name)) {
        let _held = match session.runtime.hold_secret(session.operation, &name) {
            Err(e) if e.kind() == ErrorKind::Busy => continue,
            held => held?,
        };
        session
            .libvirt
            .unload_secret(&to_its_end(), &name)
            .map_err(|e| session.failed(e))?;
        tracing::warn!(volume = %name.volume(), "took a key from libvirt that nobody waits for");
    }
    Ok(())
}

/// A machine that was made and whose guest never ran goes: whoever made it did not come to look at its disks.
fn unfinished_start(session: &Session<'_>, vm: &VmId) -> Result<(), EndpointError> {
    let _held = match session.hold_vm(vm) {
        Err(e) if e.kind() == ErrorKind::Busy => return Ok(()),
        held => held?,
    };
    let machine = session.machine(vm);
    match machine.describe(session.call) {
        Err(LibvirtError::NoDomain { .. }) => {}
        described => {
            let domain = described.map_err(|e| session.failed(e))?;
            if domain.ours && facts::state(session, &machine)? == VmState::Paused {
                machine.destroy(&to_its_end()).map_err(|e| session.failed(e))?;
                tracing::warn!(%vm, "took away a virtual machine whose start was not finished");
            }
        }
    }
    session.runtime.unmark_starting(session.operation, vm)
}
