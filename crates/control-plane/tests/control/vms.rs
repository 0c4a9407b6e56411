//! Virtual machines on a host in memory: their volumes are theirs while they run, and nothing is left when they do not.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use strongroom_control_plane::{
    ControlPlane, ControlPlaneError, ExportAs, MoveVolume, NewClone, NewContent, NewExport, NewVm, Reinstall,
    StopVmHow, VmBoot, VmDiskRecord, VmError, VmStatus,
};
use strongroom_endpoint_selector::{EndpointError, HostCommand, VmCommand};
use strongroom_storage_pool::ErrorKind;
use strongroom_types::{ByteSize, Call, DiskFormat, EncryptionFormat, VmId};

use crate::site::{Site, create, id, mib, new_volume};

pub(crate) fn vm() -> VmId {
    id("guest")
}

pub(crate) fn new_vm() -> NewVm {
    let mut new = NewVm::new(ByteSize::mib(128), 1);
    new.id = Some(vm());
    new
}

pub(crate) fn disk(target: &str, volume: &str) -> VmDiskRecord {
    VmDiskRecord::new(id(target), id(volume))
}

/// A machine with these volumes of these offerings, as vda, vdb and so on.
#[track_caller]
pub(crate) fn machine(control: &ControlPlane, disks: &[(&str, &str)]) {
    control.create_vm(&new_vm()).unwrap();
    for ((volume, offering), letter) in disks.iter().zip('a'..) {
        create(control, volume, offering);
        let disk = disk(&format!("vd{letter}"), volume);
        control.attach_volume(&Call::new(), &vm(), &disk).unwrap();
    }
}

#[track_caller]
pub(crate) fn start(control: &ControlPlane) {
    let started = control.start_vm(&Call::new(), &vm(), None).unwrap();
    assert_eq!(started.status, VmStatus::Running);
    assert_eq!(started.host, Some(id("local")));
}

#[track_caller]
pub(crate) fn power_off(control: &ControlPlane) {
    let stopped = control.stop_vm(&Call::new(), &vm(), StopVmHow::PowerOff).unwrap();
    assert_eq!((stopped.status, stopped.host), (VmStatus::Stopped, None));
}

#[test]
fn a_machine_has_every_kind_of_volume_under_its_own_key_until_it_stops() {
    let (site, control) = Site::new();
    let kinds = [("root", "secret"), ("raw", "secret-raw"), ("open", "plain")];
    machine(&control, &kinds);
    start(&control);
    let facts = control.vm_facts(&Call::new(), &vm()).unwrap().unwrap();
    let seen: Vec<_> = facts
        .disks
        .iter()
        .map(|disk| (disk.target.as_str(), disk.encryption))
        .collect();
    let luks = Some(EncryptionFormat::Luks1);
    assert_eq!(seen, [("vda", luks), ("vdb", luks), ("vdc", None)]);
    // Once more changes nothing.
    start(&control);
    power_off(&control);
    power_off(&control);
    assert_eq!(control.vm_facts(&Call::new(), &vm()).unwrap(), None);
    site.assert_sound(&control);
}

#[test]
fn nobody_else_touches_a_volume_that_a_guest_has_open() {
    let (site, control) = Site::with_template();
    machine(&control, &[("root", "secret-raw")]);
    let (call, root) = (Call::new(), id("root"));
    control
        .back_up_header(&call, &root, "/backups/before".as_ref())
        .unwrap();
    start(&control);
    let mut clone = NewClone::new(id("root"));
    clone.id = Some(id("copy"));
    let to = mib(2);
    let refused = [
        control.delete_volume(&call, &root).map(drop),
        control.create_snapshot(&call, &root, &id("s")).map(drop),
        control.restore_snapshot(&call, &root, &id("s")).map(drop),
        control.delete_snapshot(&call, &root, &id("s")),
        control.shrink_volume(&call, &root, to).map(drop),
        control.verify_volume(&call, &root).map(drop),
        control.digest_volume(&call, &root).map(drop),
        control
            .back_up_header(&call, &root, "/backups/h".as_ref())
            .map(drop),
        control
            .move_volume(&call, &MoveVolume::new(id("root"), id("other")))
            .map(drop),
        control
            .reinstall_volume(&call, &Reinstall::new(id("root"), NewContent::Template(id("t"))))
            .map(drop),
        control.clone_volume(&call, &clone).map(drop),
        control
            .export_volume(
                &call,
                &NewExport::new(
                    id("root"),
                    "/out/x",
                    DiskFormat::Raw,
                    ExportAs::Declassified("a test"),
                ),
            )
            .map(drop),
    ];
    for (position, refused) in refused.into_iter().enumerate() {
        let refused = refused.unwrap_err().to_string();
        assert_eq!(
            refused,
            "volume root is disk vda of virtual machine guest, which runs on host local; stop it first",
            "{position}"
        );
    }
    power_off(&control);
    let refused = control.delete_volume(&call, &root).unwrap_err().to_string();
    assert_eq!(
        refused,
        "volume root is disk vda of virtual machine guest; detach it first, or delete the virtual machine"
    );
    control.verify_volume(&call, &root).unwrap();
    control.delete_vm(&vm()).unwrap();
    control.delete_volume(&call, &root).unwrap();
    assert_eq!(site.assert_sound(&control).len(), 0);
}

#[test]
fn disks_come_and_go_while_the_guest_runs_and_while_it_does_not() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret")]);
    create(&control, "data", "secret-raw");
    create(&control, "more", "plain");
    let call = Call::new();
    let (data, more) = (disk("vdb", "data"), disk("vdc", "more").read_only());
    for running in [false, true] {
        if running {
            start(&control);
        }
        control.attach_volume(&call, &vm(), &data).unwrap();
        control.attach_volume(&call, &vm(), &data).unwrap();
        let now = control.attach_volume(&call, &vm(), &more).unwrap();
        assert_eq!(now.disks, [disk("vda", "root"), data.clone(), more.clone()]);
        if running {
            let facts = control.vm_facts(&call, &vm()).unwrap().unwrap();
            assert_eq!(facts.disks.len(), 3);
            assert_eq!(
                facts.disk(&id("vdb")).unwrap().encryption,
                Some(EncryptionFormat::Luks1)
            );
        }
        control.detach_volume(&call, &vm(), &id("vdc")).unwrap();
        let now = control.detach_volume(&call, &vm(), &id("vdb")).unwrap();
        assert_eq!(now.disks, [disk("vda", "root")]);
        let refused = control.detach_volume(&call, &vm(), &id("vdb")).unwrap_err();
        assert_eq!(refused.to_string(), "virtual machine guest has no disk vdb");
        // A volume that was taken back is anybody's.
        control.verify_volume(&call, &id("data")).unwrap();
    }
    let facts = control.vm_facts(&call, &vm()).unwrap().unwrap();
    assert_eq!(facts.disks.len(), 1);
    power_off(&control);
    site.assert_sound(&control);
}

#[test]
fn a_volume_is_a_disk_of_one_machine_and_a_target_has_one_disk() {
    let (_site, control) = Site::new();
    machine(&control, &[("root", "secret")]);
    create(&control, "data", "secret");
    let mut other = new_vm();
    other.id = Some(id("other-guest"));
    control.create_vm(&other).unwrap();
    let attach = |vm: VmId, disk| control.attach_volume(&Call::new(), &vm, &disk).unwrap_err();
    let refused = attach(id("other-guest"), disk("vda", "root")).to_string();
    assert!(
        refused.contains("volume root is disk vda of virtual machine guest"),
        "{refused}"
    );
    let refused = attach(vm(), disk("vda", "data")).to_string();
    assert_eq!(
        refused,
        "virtual machine guest has a disk vda already, volume root; choose another name, or detach that one"
    );
    let refused = attach(vm(), disk("vdb", "none")).to_string();
    assert_eq!(refused, "there is no volume none");
    let refused = attach(id("nobody"), disk("vdb", "data")).to_string();
    assert_eq!(refused, "there is no virtual machine nobody");
    let refused = control.create_vm(&other).unwrap_err().to_string();
    assert!(refused.contains("other-guest is there already"), "{refused}");
    let refused = control
        .start_vm(&Call::new(), &id("other-guest"), None)
        .unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::Vm(VmError::NothingToBoot { .. })),
        "{refused}"
    );
}

#[test]
fn a_machine_that_no_host_could_start_is_not_recorded() {
    let (site, control) = Site::new();
    let with = |change: &dyn Fn(&mut NewVm)| {
        let mut new = new_vm();
        change(&mut new);
        control.create_vm(&new).unwrap_err().to_string()
    };
    assert!(with(&|new| new.cores = 0).contains("has no processor cores"));
    assert!(with(&|new| new.memory = ByteSize::bytes(0)).contains("has no memory"));
    assert!(with(&|new| new.console = Some("console".into())).contains("not an absolute path"));
    let kernel = with(&|new| {
        new.boot = VmBoot::Kernel {
            kernel: "/vmlinuz".into(),
            initramfs: Some("initrd".into()),
            command_line: String::new(),
        }
    });
    assert!(kernel.contains("\"initrd\" is not an absolute path"), "{kernel}");
    let odd = PathBuf::from(OsString::from_vec(b"/\xff".to_vec()));
    assert!(with(&|new| new.console = Some(odd.clone())).contains("is not UTF-8"));
    assert_eq!(site.count("vms"), 0);
}

#[test]
fn a_running_machine_is_not_deleted_and_a_volume_of_it_grows_under_its_guest() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret"), ("raw", "secret-raw")]);
    start(&control);
    let refused = control.delete_vm(&vm()).unwrap_err().to_string();
    assert_eq!(refused, "virtual machine guest runs on host local; stop it first");
    let refused = control.forget_host(&id("local")).unwrap_err().to_string();
    assert_eq!(refused, "virtual machine guest runs on host local; stop it first");
    for (volume, target) in [("root", "vda"), ("raw", "vdb")] {
        let grown = control.grow_volume(&Call::new(), &id(volume), mib(3)).unwrap();
        assert_eq!(grown.guest, mib(3));
        let facts = control.vm_facts(&Call::new(), &vm()).unwrap().unwrap();
        assert_eq!(facts.disk(&id(target)).unwrap().guest, mib(3), "{volume}");
    }
    let grown = || {
        let commands = site.host.inner.commands();
        commands.iter().filter(|name| *name == "GrowVmDisk").count()
    };
    assert_eq!(grown(), 2);
    control.grow_volume(&Call::new(), &id("root"), mib(3)).unwrap();
    assert_eq!(grown(), 2, "the size that it has is no work");
    power_off(&control);
    site.assert_sound(&control);
}

#[test]
fn a_volume_is_flattened_under_its_guest() {
    let (site, control) = Site::with_template();
    let mut new = new_volume("root", "secret");
    new.content = NewContent::Overlay(id("t"));
    control.create_volume(&Call::new(), &new).unwrap();
    control.create_vm(&new_vm()).unwrap();
    control
        .attach_volume(&Call::new(), &vm(), &disk("vda", "root"))
        .unwrap();
    start(&control);
    let below = || {
        let facts = control.vm_facts(&Call::new(), &vm()).unwrap().unwrap();
        facts.disk(&id("vda")).unwrap().below.len()
    };
    assert_eq!(below(), 1);
    let flat = control.flatten_volume(&Call::new(), &id("root")).unwrap();
    assert_eq!((flat.template, below()), (None, 0));
    power_off(&control);
    site.assert_sound(&control);
}

#[test]
fn a_guest_that_went_down_by_itself_is_noticed_and_started_anew() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret")]);
    create(&control, "data", "secret");
    start(&control);
    assert!(site.host.inner.end_vm(&vm()));
    assert_eq!(control.vm_facts(&Call::new(), &vm()).unwrap(), None);
    let refused = control
        .attach_volume(&Call::new(), &vm(), &disk("vdb", "data"))
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused,
        "virtual machine guest is recorded as running on host local, which does not run it any more; stop it, so that its disks are free"
    );
    start(&control);
    assert!(control.vm_facts(&Call::new(), &vm()).unwrap().is_some());
    assert!(site.host.inner.end_vm(&vm()));
    let stopped = control.stop_vm(&Call::new(), &vm(), StopVmHow::Shutdown).unwrap();
    assert_eq!(stopped.status, VmStatus::Stopped);
    site.assert_sound(&control);
}

#[test]
fn a_guest_that_does_not_go_down_runs_on() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret")]);
    start(&control);
    site.host.inner.fail_when(|command| {
        let asked = matches!(command, HostCommand::Vm(VmCommand::StopVm(c)) if c.how == StopVmHow::Shutdown);
        asked.then(|| EndpointError::new(ErrorKind::Busy, "StopVm", "the guest did not go down"))
    });
    let refused = control
        .stop_vm(&Call::new(), &vm(), StopVmHow::Shutdown)
        .unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::Busy), "{refused}");
    assert_eq!(control.vm(&vm()).unwrap().status, VmStatus::Running);
    power_off(&control);
    site.assert_sound(&control);
}

#[test]
fn two_pieces_of_work_on_one_machine_or_its_volumes_at_once_are_refused() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret")]);
    let (begun, hold) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let (say, wait) = (begun.0, std::sync::Mutex::new(hold.1));
    site.host.inner.fail_when(move |command| {
        if matches!(command, HostCommand::Vm(VmCommand::StartVm(_))) {
            say.send(()).unwrap();
            wait.lock().unwrap().recv().unwrap();
        }
        None
    });
    std::thread::scope(|scope| {
        // Let go of also when an assertion fails.
        let release = hold.0;
        let starting = scope.spawn(|| control.start_vm(&Call::new(), &vm(), None).unwrap());
        begun.1.recv().unwrap();
        let refused = control
            .stop_vm(&Call::new(), &vm(), StopVmHow::PowerOff)
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            "somebody works on virtual machine guest just now; wait for it to end"
        );
        let refused = control.verify_volume(&Call::new(), &id("root")).unwrap_err();
        assert!(matches!(refused, ControlPlaneError::Busy { .. }), "{refused}");
        release.send(()).unwrap();
        assert_eq!(starting.join().unwrap().status, VmStatus::Running);
    });
}
