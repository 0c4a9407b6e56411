use anyhow::Result;
use comfy_table::Table;
use serde::Serialize;
use strongroom_control_plane::{VmBoot, VmFacts, VmRecord};
use strongroom_endpoint_selector::VmState;
use strongroom_types::{ByteSize, Call, DiskTarget, EncryptionFormat, HostId, VmId, VolumeId};

use super::shown;
use crate::output::table;
use crate::session::Session;

/// A virtual machine as it is shown. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub(super) struct VmView {
    id: VmId,
    /// What is recorded.
    state: String,
    /// Where it runs, or may run; null when it is stopped.
    host: Option<HostId>,
    memory: u64,
    cores: u32,
    /// The kernel that it boots; null when it boots from its first disk.
    kernel: Option<String>,
    console: Option<String>,
    disks: Vec<DiskView>,
    /// What the hypervisor says; null when it does not run, or was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    guest: Option<GuestView>,
}

#[derive(Debug, Serialize)]
struct DiskView {
    target: DiskTarget,
    volume: VolumeId,
    read_only: bool,
}

/// What the hypervisor says of a machine that is recorded as running.
#[derive(Debug, Serialize)]
struct GuestView {
    /// `running`, `paused`, `stopped after an error of a disk`, `going down`, or `not there`.
    state: &'static str,
    disks: Vec<GuestDisk>,
}

#[derive(Debug, Serialize)]
struct GuestDisk {
    target: DiskTarget,
    /// Through which LUKS the hypervisor reads it; null for a plain disk.
    encryption: Option<EncryptionFormat>,
    size: u64,
    location: String,
}

impl From<VmRecord> for VmView {
    fn from(record: VmRecord) -> Self {
        let kernel = match &record.boot {
            VmBoot::Kernel { kernel, .. } => Some(shown(kernel)),
            _ => None,
        };
        Self {
            state: record.status.to_string(),
            host: record.host,
            memory: record.memory.get(),
            cores: record.cores,
            kernel,
            console: record.console.as_deref().map(shown),
            disks: record
                .disks
                .into_iter()
                .map(|disk| DiskView {
                    target: disk.target,
                    volume: disk.volume,
                    read_only: disk.read_only,
                })
                .collect(),
            guest: None,
            id: record.id,
        }
    }
}

impl GuestView {
    fn of(facts: Option<VmFacts>) -> Self {
        let Some(facts) = facts else {
            return Self {
                state: "not there",
                disks: Vec::new(),
            };
        };
        let state = match facts.state {
            VmState::Running => "running",
            VmState::Paused => "paused",
            VmState::Stopped => "stopped after an error of a disk",
            VmState::ShuttingDown => "going down",
            _ => "unknown",
        };
        let disks = facts.disks.into_iter().map(|disk| GuestDisk {
            location: disk.location.to_string(),
            target: disk.target,
            encryption: disk.encryption,
            size: disk.guest.get(),
        });
        Self {
            state,
            disks: disks.collect(),
        }
    }
}

impl VmView {
    /// The same with what the hypervisor says, when it is recorded as being on a host.
    pub(super) fn asked(mut self, session: &Session, call: &Call) -> Result<Self> {
        if self.host.is_some() {
            self.guest = Some(GuestView::of(session.control.vm_facts(call, &self.id)?));
        }
        Ok(self)
    }

    fn host(&self) -> String {
        self.host.as_ref().map_or_else(String::new, ToString::to_string)
    }
}

pub(super) fn details(vm: &VmView) -> Table {
    let mut table = table(["what", "value"]);
    let boots = vm.kernel.clone().unwrap_or_else(|| "its first disk".to_owned());
    for (what, value) in [
        ("virtual machine", vm.id.to_string()),
        ("state", vm.state.clone()),
        ("host", vm.host()),
        ("memory", ByteSize::bytes(vm.memory).to_string()),
        ("cores", vm.cores.to_string()),
        ("boots", boots),
        ("console", vm.console.clone().unwrap_or_default()),
    ] {
        table.add_row([what.to_owned(), value]);
    }
    if let Some(guest) = &vm.guest {
        table.add_row(["guest".to_owned(), guest.state.to_owned()]);
    }
    for disk in &vm.disks {
        let read_only = if disk.read_only { ", for reading only" } else { "" };
        let mut text = format!("volume {}{read_only}", disk.volume);
        let there = vm.guest.iter().flat_map(|guest| &guest.disks);
        if let Some(there) = there.into_iter().find(|there| there.target == disk.target) {
            let encryption = there.encryption.map_or("no encryption", EncryptionFormat::as_str);
            text += &format!(
                "; the guest sees {} bytes, through {encryption}, at {}",
                there.size, there.location
            );
        }
        table.add_row([format!("disk {}", disk.target), text]);
    }
    table
}

pub(super) fn listing(vms: &[VmView]) -> Table {
    let mut table = table(["virtual machine", "state", "host", "memory", "cores", "disks"]);
    for vm in vms {
        let disks: Vec<_> = vm
            .disks
            .iter()
            .map(|disk| format!("{} ({})", disk.target, disk.volume))
            .collect();
        table.add_row([
            vm.id.to_string(),
            vm.state.clone(),
            vm.host(),
            ByteSize::bytes(vm.memory).to_string(),
            vm.cores.to_string(),
            disks.join(", "),
        ]);
    }
    table
}
