use strongroom_endpoint_selector::{EndpointError, GrowVmDisk, HostAnswer};

use super::session::{Session, to_its_end};
use super::{facts, node_graph, work};
use crate::create;

pub(super) fn grow(session: &Session<'_>, c: &GrowVmDisk<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    work::undo(session, c.vm)?;
    let domain = session.described(c.vm)?;
    let disk = domain
        .disk(c.target)
        .ok_or_else(|| session.no_disk(c.vm, c.target))?;
    let format = node_graph::format(session, &disk.image)?;
    create::largest(session.operation, format, c.to)?;
    session.go_on()?;
    // It is short, and half of it is nothing that could be undone.
    session
        .machine(c.vm)
        .grow_disk(&to_its_end(), c.target, c.to.get())
        .map_err(|e| session.failed(e))?;
    facts::answer(session, c.vm)
}
