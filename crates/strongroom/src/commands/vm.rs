mod view;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use strongroom_control_plane::{NewVm, StopVmHow, VmBoot, VmDiskRecord, VmRecord};
use strongroom_types::{Call, DiskTarget, VmId};

use self::view::{VmView, details, listing};
use crate::cli::{Output, Vm, VmCreate, VmDisk};
use crate::commands::absolute;
use crate::output::{print, table};
use crate::session::Session;

/// How long a guest that is asked to go down has, when nothing else is said.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Serialize)]
struct Deleted {
    id: VmId,
    deleted: bool,
}

pub(super) fn run(session: &Session, command: Vm, output: Output, call: &Call) -> Result<()> {
    let control = &session.control;
    let record = match command {
        Vm::Create(new) => create(session, new, call)?,
        Vm::List => {
            let vms: Vec<VmView> = control.vms()?.into_iter().map(VmView::from).collect();
            return print(output, &vms, |vms| listing(vms));
        }
        Vm::Show { id } => control.vm(&id)?,
        Vm::Start { id, host } => control.start_vm(call, &id, host.as_ref())?,
        Vm::Stop { id, power_off: true } => control.stop_vm(call, &id, StopVmHow::PowerOff)?,
        Vm::Stop { id, .. } => {
            let asked = match call.remaining() {
                Some(_) => call.clone(),
                None => call.clone().with_timeout(PATIENCE),
            };
            control.stop_vm(&asked, &id, StopVmHow::Shutdown)?
        }
        Vm::Attach { id, disk, read_only } => {
            let disk = named(&control.vm(&id)?, disk)?;
            let disk = if read_only { disk.read_only() } else { disk };
            control.attach_volume(call, &id, &disk)?
        }
        Vm::Detach { id, target } => control.detach_volume(call, &id, &target)?,
        Vm::Delete { id } => {
            control.delete_vm(&id)?;
            let done = Deleted { id, deleted: true };
            return print(output, &done, |done| {
                let mut table = table(["virtual machine", "result"]);
                table.add_row([done.id.as_str(), "forgotten; its volumes stay"]);
                table
            });
        }
    };
    let shown = VmView::from(record).asked(session, call)?;
    print(output, &shown, details)
}

fn create(session: &Session, new: VmCreate, call: &Call) -> Result<VmRecord> {
    let control = &session.control;
    let mut vm = NewVm::new(new.memory, new.cores);
    vm.id = new.id;
    vm.console = new.console.as_deref().map(absolute).transpose()?;
    if let Some(kernel) = &new.kernel {
        vm.boot = VmBoot::Kernel {
            kernel: absolute(kernel)?,
            initramfs: new.initramfs.as_deref().map(absolute).transpose()?,
            command_line: new.command_line,
        };
    }
    let mut record = control.create_vm(&vm)?;
    for disk in new.disks {
        let attached =
            named(&record, disk).and_then(|disk| Ok(control.attach_volume(call, &record.id, &disk)?));
        record = match attached {
            Ok(record) => record,
            Err(error) => {
                // All of it or nothing.
                control.delete_vm(&record.id)?;
                return Err(error);
            }
        };
    }
    Ok(record)
}

/// The disk under the name that was said, or else the next free one.
fn named(vm: &VmRecord, disk: VmDisk) -> Result<VmDiskRecord> {
    let target = match disk.target {
        Some(target) => target,
        None => free_target(vm)?,
    };
    Ok(VmDiskRecord::new(target, disk.volume))
}

fn free_target(vm: &VmRecord) -> Result<DiskTarget> {
    let names = ('a'..='z').filter_map(|letter| format!("vd{letter}").parse::<DiskTarget>().ok());
    let mut free = names.filter(|name| vm.disks.iter().all(|disk| disk.target != *name));
    free.next().with_context(|| {
        format!(
            "virtual machine {} has disks up to vdz; say a name for the next",
            vm.id
        )
    })
}

/// A path as it is shown.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
