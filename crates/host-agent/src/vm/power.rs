use std::thread;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{
    EndpointError, ErrorKind, HostAnswer, PauseVm, ResumeVm, StopVm, StopVmHow, VmState,
};
use strongroom_libvirt::{LibvirtError, Machine};
use strongroom_types::VmId;

use super::facts;
use super::session::{Session, to_its_end};

/// How long a guest has to go down when the call has no deadline.
const SHUTDOWN: Duration = Duration::from_secs(300);

/// How often it is looked whether it is down. Each look is a process of virsh.
const INTERVAL: Duration = Duration::from_millis(250);

pub(super) fn stop(session: &Session<'_>, c: &StopVm<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    let machine = session.machine(c.vm);
    if c.how == StopVmHow::Shutdown && !shut_down(session, c.vm, &machine)? {
        let message = format!(
            "{} was asked to go down and still runs; ask again, or power it off",
            c.vm
        );
        return Err(session.error(ErrorKind::Busy, message));
    }
    machine.destroy(&to_its_end()).map_err(|e| session.failed(e))?;
    session.runtime.unmark_starting(session.operation, c.vm)?;
    Ok(HostAnswer::Done)
}

/// Asks the guest to go down, and says whether it did.
fn shut_down(session: &Session<'_>, vm: &VmId, machine: &Machine<'_>) -> Result<bool, EndpointError> {
    let until = session
        .call
        .deadline()
        .unwrap_or_else(|| Instant::now() + SHUTDOWN);
    match machine.shut_down(session.call) {
        Err(LibvirtError::NoDomain { .. } | LibvirtError::NotRunning { .. }) => return Ok(true),
        asked => asked.map_err(|e| session.failed(e))?,
    }
    loop {
        // A look is short, and the last one may come a little late.
        match machine.state(&to_its_end()) {
            Err(LibvirtError::NoDomain { .. }) => return Ok(true),
            Ok(_) => {}
            Err(e) => return Err(session.failed(e)),
        }
        if session.call.cancellation().is_cancelled() {
            session.go_on()?;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tracing::info!(%vm, "a guest does not go down");
            return Ok(false);
        }
        thread::sleep(INTERVAL.min(left));
    }
}

pub(super) fn pause(session: &Session<'_>, c: &PauseVm<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    ran(session, c.vm)?;
    let machine = session.machine(c.vm);
    if facts::state(session, &machine)? == VmState::Running {
        machine.suspend(session.call).map_err(|e| session.failed(e))?;
    }
    facts::answer(session, c.vm)
}

pub(super) fn resume(session: &Session<'_>, c: &ResumeVm<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    ran(session, c.vm)?;
    let machine = session.machine(c.vm);
    if facts::state(session, &machine)? != VmState::Running {
        machine.resume(session.call).map_err(|e| session.failed(e))?;
    }
    facts::answer(session, c.vm)
}

/// Fails for a machine that does not run, or that was begun and never finished: nobody has looked at what its disks are.
fn ran(session: &Session<'_>, vm: &VmId) -> Result<(), EndpointError> {
    session.described(vm)?;
    if !session.runtime.is_starting(vm) {
        return Ok(());
    }
    if facts::state(session, &session.machine(vm))? == VmState::Running {
        return session.runtime.unmark_starting(session.operation, vm);
    }
    let message = format!("the start of {vm} was not finished; start it again");
    Err(session.error(ErrorKind::NotFound, message))
}
