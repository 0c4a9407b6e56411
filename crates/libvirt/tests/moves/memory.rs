use std::path::Path;
use std::sync::Arc;

use strongroom_exec::{Runner, SystemRunner};
use strongroom_lab::{Hypervisors, find_in};
use strongroom_libvirt::{DomainDisk, EncryptedMemoryFile, Image, LibvirtError, MachineState, Refusal};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, Cancellation, DiskFormat};

use crate::place::{Host, create, traces, until, virsh};

pub(crate) fn open(file: &Path, key: &Passphrase) -> EncryptedMemoryFile {
    let runner: Arc<dyn Runner> = Arc::new(SystemRunner::new());
    EncryptedMemoryFile::open(&runner, &Call::new(), file, key).unwrap()
}

#[test]
fn a_saved_guest_goes_on_with_its_memory_and_no_file_has_it_in_clear() {
    let lab = Hypervisors::one().unwrap();
    let host = Host::new(lab.first());
    let call = Call::new();
    let (a, b) = (
        host.volume("a", DiskFormat::Qcow2),
        host.volume("b", DiskFormat::Raw),
    );
    host.load(&[&a, &b]);
    let disks = [a.disk("vda"), b.disk("vdb")];
    let mut guest = host.start("vm", &disks);
    host.unload_all();
    guest.write_canary("vda", 100, "DISK-CANARY").unwrap();
    guest.write_canary("vdb", 200, "DISK-CANARY").unwrap();
    // Into the guest's page cache, as the memory of a disk's content.
    guest.output("cat /dev/vda >/dev/null").unwrap();
    guest
        .output("yes MEMORY-CANARY | head -c 1000000 >/tmp/memory; head -c 100000 /dev/urandom >/tmp/random")
        .unwrap();
    let sums = guest.output("md5sum /tmp/memory /tmp/random").unwrap();
    drop(guest);

    let (file, key) = host.memory_file("vm.memory");
    let memory = open(&file, &key);
    host.machine("vm").save(&call, &memory).unwrap();
    assert_eq!(host.machines(), "");
    for text in ["MEMORY-CANARY", "DISK-CANARY", "LibvirtQemudSave"] {
        let seen = find_in([memory.device()], text).unwrap();
        assert!(
            !seen.is_empty(),
            "{text} is in the memory, and the search finds it there"
        );
    }
    drop(memory);
    let places = [
        lab.first().outside(lab.first().local()),
        lab.first().outside(Path::new("/var/lib/libvirt")),
        lab.first().outside(Path::new("/var/log/libvirt")),
        lab.first().outside(Path::new("/run/libvirt")),
    ];
    for text in [
        "MEMORY-CANARY",
        "DISK-CANARY",
        "LibvirtQemudSave",
        "LibvirtQemudPart",
    ] {
        assert_eq!(find_in(&places, text).unwrap(), [], "{text}");
    }
    until("the end of all traces", || traces(&file).is_empty());

    let memory = open(&file, &key);
    let machine = host.machine("vm");
    let restore = |disks: &[DomainDisk]| machine.restore(&call, &memory, disks, false).unwrap_err();
    let unnamed = restore(&disks[..1]);
    assert!(
        matches!(unnamed, LibvirtError::Refused(Refusal::Unnamed { .. })),
        "{unnamed:?}"
    );
    let plain = DomainDisk::new(
        "vdb".parse().unwrap(),
        Image::plain(b.image.source().clone(), DiskFormat::Raw),
    );
    let in_clear = restore(&[a.disk("vda"), plain]);
    assert!(
        matches!(in_clear, LibvirtError::Refused(Refusal::InClear { .. })),
        "{in_clear:?}"
    );
    let other = host
        .machine("other")
        .restore(&call, &memory, &disks, false)
        .unwrap_err();
    assert!(
        matches!(&other, LibvirtError::Output { problem, .. } if problem.contains("of the machine")),
        "{other:?}"
    );
    let no_key = restore(&disks);
    assert!(matches!(no_key, LibvirtError::NoSecret { .. }), "{no_key:?}");
    host.connection
        .load_secret(&call, &a.secret, &Passphrase::generate().unwrap())
        .unwrap();
    host.load(&[&b]);
    let wrong_key = restore(&disks);
    assert!(
        matches!(wrong_key, LibvirtError::WrongKey { .. }),
        "{wrong_key:?}"
    );
    assert_eq!(host.machines(), "");

    host.load(&[&a, &b]);
    machine.restore(&call, &memory, &disks, false).unwrap();
    host.unload_all();
    let again = restore(&disks);
    assert!(matches!(again, LibvirtError::AlreadyExists { .. }), "{again:?}");
    drop(memory);
    let mut guest = host.console("vm");
    assert_eq!(guest.output("md5sum /tmp/memory /tmp/random").unwrap(), sums);
    assert_eq!(guest.read_canary("vda", 100).unwrap(), "DISK-CANARY");
    guest.write_canary("vdb", 201, "AFTERWARDS").unwrap();
    assert_eq!(guest.read_canary("vdb", 201).unwrap(), "AFTERWARDS");

    // What libvirt does by itself, and this crate has no function for.
    let plain = lab.first().local().join("plain.memory");
    virsh(lab.first(), &["save", "vm", plain.to_str().unwrap()]);
    let plain = lab.first().outside(&plain);
    assert!(!find_in([&plain], "MEMORY-CANARY").unwrap().is_empty());
    assert!(!find_in([&plain], "DISK-CANARY").unwrap().is_empty());
}

#[test]
fn a_save_that_has_no_room_or_is_called_off_leaves_the_guest_running() {
    let lab = Hypervisors::one().unwrap();
    let host = Host::new(lab.first());
    let volume = host.volume("a", DiskFormat::Qcow2);
    host.load(&[&volume]);
    let mut guest = host.start("vm", &[volume.disk("vda")]);
    let machine = host.machine("vm");

    let small = lab.first().outside(&lab.first().local().join("small"));
    let key = Passphrase::generate().unwrap();
    create(&small, DiskFormat::Raw, &key, 8 << 20, &[]);
    let memory = open(&small, &key);
    let full = machine.save(&Call::new(), &memory).unwrap_err();
    assert!(matches!(full, LibvirtError::NoSpace { .. }), "{full:?}");
    assert_eq!(machine.state(&Call::new()).unwrap(), MachineState::Running);
    guest.write_canary("vda", 1, "GOES-ON").unwrap();
    drop(memory);

    // Called off while it is at work. It may be done in that moment, and then is whole.
    let (file, key) = host.memory_file("vm.memory");
    let memory = open(&file, &key);
    let cancellation = Cancellation::new();
    let call = Call::new().with_cancellation(cancellation.clone());
    let ended = std::thread::scope(|scope| {
        let saving = scope.spawn(|| host.machine("vm").save(&call, &memory));
        until("the save", || {
            let info = lab.first().virsh(["domjobinfo", "vm"]).unwrap();
            saving.is_finished() || !String::from_utf8_lossy(&info.stdout).contains("None")
        });
        cancellation.cancel();
        saving.join().unwrap()
    });
    match ended {
        Err(LibvirtError::Interrupted { .. }) => {
            assert_eq!(machine.state(&Call::new()).unwrap(), MachineState::Running);
        }
        Ok(()) => {
            assert_eq!(host.machines(), "");
            host.machine("vm")
                .restore(&Call::new(), &memory, &[volume.disk("vda")], false)
                .unwrap();
            guest = host.console("vm");
        }
        Err(other) => panic!("{other:?}"),
    }
    guest.write_canary("vda", 2, "GOES-ON").unwrap();
    assert_eq!(guest.read_canary("vda", 1).unwrap(), "GOES-ON");
}
