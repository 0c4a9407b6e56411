use std::sync::OnceLock;

use strongroom_endpoint_selector::{EndpointError, ErrorKind};
use strongroom_libvirt::{Accelerator, Connection, LibvirtError, LiveDomain, Machine};
use strongroom_types::{Call, DiskTarget, VmId};

use super::runtime::{Held, Runtime};
use super::{Hypervisor, libvirt_failure};
use crate::failure;
use crate::tools::Tools;

/// One command for a virtual machine, and what it works with.
pub(super) struct Session<'s> {
    pub(super) tools: &'s Tools,
    pub(super) call: &'s Call,
    pub(super) operation: &'static str,
    pub(super) libvirt: Connection,
    pub(super) runtime: Runtime,
    /// Whether QEMU was seen to change keyslots of an image that it has open.
    pub(super) changes_keyslots: bool,
    accelerator: &'s OnceLock<Accelerator>,
}

impl<'s> Session<'s> {
    pub(super) fn open(
        hypervisor: &'s Hypervisor,
        tools: &'s Tools,
        call: &'s Call,
        operation: &'static str,
    ) -> Result<Self, EndpointError> {
        Ok(Self {
            tools,
            call,
            operation,
            libvirt: tools.libvirt(operation, hypervisor.uri.clone())?,
            runtime: Runtime::of(&hypervisor.uri),
            changes_keyslots: false,
            accelerator: &hypervisor.accelerator,
        })
    }

    pub(super) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> EndpointError {
        EndpointError::new(kind, self.operation, message)
    }

    pub(super) fn failed(&self, error: LibvirtError) -> EndpointError {
        libvirt_failure::of(self.operation, error)
    }

    pub(super) fn machine(&self, vm: &VmId) -> Machine<'_> {
        self.libvirt.machine(vm)
    }

    /// Fails when the caller's time is over or the caller asked to stop.
    pub(super) fn go_on(&self) -> Result<(), EndpointError> {
        self.call
            .check()
            .map_err(|e| failure::interrupted(self.operation, e))
    }

    /// Keeps every other command from this machine until the guard goes.
    pub(super) fn hold_vm(&self, vm: &VmId) -> Result<Held, EndpointError> {
        self.runtime.hold_vm(self.operation, vm)
    }

    /// What libvirt says of a machine that has to run.
    pub(super) fn described(&self, vm: &VmId) -> Result<LiveDomain, EndpointError> {
        match self.machine(vm).describe(self.call) {
            Err(LibvirtError::NoDomain { .. }) => {
                Err(self.error(ErrorKind::NotFound, format!("{vm} does not run on this host")))
            }
            described => described.map_err(|e| self.failed(e)),
        }
    }

    pub(super) fn no_disk(&self, vm: &VmId, target: &DiskTarget) -> EndpointError {
        self.error(ErrorKind::NotFound, format!("{vm} has no disk {target}"))
    }

    pub(super) fn accelerator(&self) -> Result<Accelerator, EndpointError> {
        if let Some(known) = self.accelerator.get() {
            return Ok(*known);
        }
        let found = self.libvirt.accelerator(self.call).map_err(|e| self.failed(e))?;
        Ok(*self.accelerator.get_or_init(|| found))
    }
}

/// The call by which things are done that have to come to their end: a daemon that was told something does it, whether or not
/// anybody waits, and it has to be known what came of it. [`LIMIT`](strongroom_libvirt::LIMIT) ends it all the same.
pub(super) fn to_its_end() -> Call {
    Call::new()
}
