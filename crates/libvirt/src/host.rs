use strongroom_types::Call;

use crate::{Accelerator, Connection, LibvirtError, Virsh};

/// What a host's hypervisor can do.
impl Connection {
    /// Whether guests run on the host's own processor. libvirt has tried it: it started QEMU and asked whether KVM works. A `/dev/kvm` that
    /// is there and does not work is emulation.
    ///
    /// # Errors
    /// [`LibvirtError::Unreachable`], and as [`Connection::run`]. A host without any QEMU is an error as well.
    pub fn accelerator(&self, call: &Call) -> Result<Accelerator, LibvirtError> {
        match self.capabilities_of(call, Accelerator::Kvm) {
            Ok(()) => Ok(Accelerator::Kvm),
            Err(LibvirtError::Failed { .. } | LibvirtError::Unsupported { .. }) => {
                self.capabilities_of(call, Accelerator::Emulation)?;
                Ok(Accelerator::Emulation)
            }
            Err(other) => Err(other),
        }
    }

    fn capabilities_of(&self, call: &Call, accelerator: Accelerator) -> Result<(), LibvirtError> {
        let ask = Virsh::new("domcapabilities").option("--virttype", accelerator.as_str());
        self.run(call, &ask).map(drop)
    }
}
