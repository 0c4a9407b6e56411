use std::fs::File;

use strongroom_exec::{CommandSpec, Program};
use strongroom_lab::{Hypervisors, LINK, LabPlan, LoopDevice, find_in};
use strongroom_libvirt::{Arrival, Image, LibvirtError, MigratedDisks, Migration, Refusal, Source};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::{ByteSize, Call, DiskFormat};

use crate::place::{Host, Volume, create, run, virsh};

pub(crate) fn arrival(target: &str, volume: &Volume) -> Arrival {
    Arrival::new(target.parse().unwrap(), volume.image.clone())
}

/// Whether this key opens the image.
fn opens(volume: &Volume, key: &Passphrase) -> bool {
    let secret = SecretFile::new(key).unwrap();
    let mut info = CommandSpec::new(Program::find("qemu-img").unwrap()).args(["check", "-q"]);
    let path = secret.path_in_child(|descriptor| info.pass(descriptor));
    let done = {
        use strongroom_exec::{Runner, SystemRunner, Watch};
        let info = info
            .args([
                "--object".to_owned(),
                format!("secret,id=s,file={}", path.display()),
            ])
            .arg("--image-opts")
            .arg(format!(
                "driver=qcow2,encrypt.key-secret=s,file.filename={}",
                volume.file.display()
            ));
        SystemRunner::new().run(&info, &Watch::nobody()).unwrap()
    };
    assert!(
        done.code == 0 || done.message().ends_with("cannot unlock any keyslot"),
        "{}",
        done.message()
    );
    done.code == 0
}

#[test]
fn a_guest_moves_with_shared_disks_and_the_wire_has_neither_memory_nor_disk_in_clear() {
    let lab = Hypervisors::up().unwrap();
    let (h1, h2) = Host::both(&lab);
    let call = Call::new();
    let (a, b) = (
        h1.volume_in(lab.first().shared(), "a", DiskFormat::Qcow2),
        h1.volume_in(lab.first().shared(), "b", DiskFormat::Raw),
    );
    h1.load(&[&a, &b]);
    let mut guest = h1.start("vm", &[a.disk("vda"), b.disk("vdb")]);
    h1.unload_all();
    for disk in ["vda", "vdb"] {
        guest.write_canary(disk, 10, "DISK-CANARY").unwrap();
    }
    guest.output("cat /dev/vda /dev/vdb >/dev/null").unwrap();
    guest
        .output("yes MEMORY-CANARY | head -c 1000000 >/tmp/memory")
        .unwrap();
    drop(guest);

    h2.load(&[&a, &b]);
    let capture = lab.first().captured(LINK).unwrap();
    let to = lab.second().migration_uri().parse().unwrap();
    h1.machine("vm")
        .migrate(&call, &Migration::new(to, MigratedDisks::Shared))
        .unwrap();
    h2.unload_all();
    let captured = capture.stop().unwrap();
    let sent = captured.file.metadata().unwrap().len();
    println!("{sent} bytes on the wire");
    assert!(sent > 10 << 20, "{sent}");
    for text in ["MEMORY-CANARY", "DISK-CANARY"] {
        assert_eq!(find_in([&captured.file], text).unwrap(), []);
    }
    assert_eq!((h1.machines(), h2.machines()), (String::new(), "vm".to_owned()));
    assert_eq!(h1.connection.secrets(&call).unwrap(), []);
    h2.machine("vm")
        .check_arrivals(&call, &[arrival("vda", &a), arrival("vdb", &b)])
        .unwrap();
    let mut guest = h2.console("vm");
    assert_eq!(guest.output("head -n 1 /tmp/memory").unwrap(), "MEMORY-CANARY");
    for disk in ["vda", "vdb"] {
        assert_eq!(guest.read_canary(disk, 10).unwrap(), "DISK-CANARY");
        guest.write_canary(disk, 11, "CANARY-THERE").unwrap();
    }
    assert_eq!(find_in([&a.file, &b.file], "CANARY").unwrap(), []);
}

#[test]
fn a_guest_moves_with_its_disks_into_images_with_other_keys_inside_tls() {
    let lab = Hypervisors::up().unwrap();
    let (h1, h2) = Host::both(&lab);
    let call = Call::new();
    let length = 32 << 20;
    let device = |host: &Host<'_>, name: &str| {
        let file = host.lab.outside(&host.lab.local().join(name));
        File::create(&file).unwrap().set_len(length).unwrap();
        let (device, key) = (LoopDevice::on(&file).unwrap(), Passphrase::generate().unwrap());
        create(device.path(), DiskFormat::Raw, &key, length - (4040 << 9), &[]);
        let volume = Volume::new(
            Source::Block(device.path().to_owned()),
            DiskFormat::Raw,
            key,
            file,
        );
        (device, volume)
    };
    let (a, (_b_device, b)) = (h1.volume("a", DiskFormat::Qcow2), device(&h1, "b"));
    let (new_a, (_new_b_device, new_b)) = (h2.volume("a", DiskFormat::Qcow2), device(&h2, "new-b"));
    h1.load(&[&a, &b]);
    let mut guest = h1.start("vm", &[a.disk("vda"), b.disk("vdb")]);
    h1.unload_all();
    for disk in ["vda", "vdb"] {
        guest.write_canary(disk, 10, "DISK-CANARY").unwrap();
    }
    guest
        .output("yes MEMORY-CANARY | head -c 1000000 >/tmp/memory")
        .unwrap();
    let size = guest.disk_bytes("vdb").unwrap();
    drop(guest);
    assert_ne!(new_a.key.expose_secret(), a.key.expose_secret());

    let machine = h1.machine("vm");
    let migrate = |arrivals: Vec<Arrival>| {
        let to = lab.second().migration_uri().parse().unwrap();
        machine.migrate(&call, &Migration::new(to, MigratedDisks::Copied(arrivals)))
    };
    let measured = arrival("vdb", &new_b).of_length(ByteSize::bytes(length));
    let refused = |arrivals| match migrate(arrivals).unwrap_err() {
        LibvirtError::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        refused(vec![arrival("vda", &new_a)]),
        Refusal::Unnamed { .. }
    ));
    assert!(matches!(
        refused(vec![arrival("vda", &new_a), arrival("vdb", &new_b)]),
        Refusal::NoLength(_)
    ));
    let plain = Image::plain(new_a.image.source().clone(), DiskFormat::Qcow2);
    assert!(matches!(
        refused(vec![
            Arrival::new("vda".parse().unwrap(), plain),
            measured.clone()
        ]),
        Refusal::InClear { .. }
    ));

    h2.load(&[&new_a, &new_b]);
    let arrivals = vec![arrival("vda", &new_a), measured];
    let capture = lab.second().captured(LINK).unwrap();
    if let Err(error) = migrate(arrivals.clone()) {
        panic!("{error}\n{}\n{}", lab.first().logs(), lab.second().logs());
    }
    h2.unload_all();
    let captured = capture.stop().unwrap();
    let sent = captured.file.metadata().unwrap().len();
    println!("{sent} bytes on the wire");
    assert!(sent > 10 << 20, "{sent}");
    for text in ["MEMORY-CANARY", "DISK-CANARY"] {
        assert_eq!(find_in([&captured.file], text).unwrap(), []);
    }
    assert_eq!((h1.machines(), h2.machines()), (String::new(), "vm".to_owned()));
    h2.machine("vm").check_arrivals(&call, &arrivals).unwrap();
    let mut guest = h2.console("vm");
    assert_eq!(guest.output("head -n 1 /tmp/memory").unwrap(), "MEMORY-CANARY");
    assert_eq!(guest.disk_bytes("vdb").unwrap(), size);
    for disk in ["vda", "vdb"] {
        assert_eq!(guest.read_canary(disk, 10).unwrap(), "DISK-CANARY");
        guest.write_canary(disk, 11, "DISK-CANARY").unwrap();
    }
    for file in [&a.file, &b.file, &new_a.file, &new_b.file] {
        assert_eq!(find_in([file], "DISK-CANARY").unwrap(), []);
    }
    // The price of the length that libvirt had to be told.
    let grown = lab.second().virsh(["blockresize", "vm", "vdb", "64M"]).unwrap();
    assert!(grown.message().contains("storage slice"), "{}", grown.message());
    h2.machine("vm").destroy(&call).unwrap();
    assert!(opens(&new_a, &new_a.key) && !opens(&new_a, &a.key));
    for header in [&b, &new_b] {
        run(
            &CommandSpec::new(Program::find("cryptsetup").expect("cryptsetup-bin"))
                .args(["isLuks", "--type", "luks1"])
                .arg(&header.file),
        );
    }
}

/// The same search finds what libvirt sends by itself.
#[test]
fn without_tls_the_wire_has_memory_and_disk_in_clear() {
    let lab = LabPlan::new().without_forced_tls().up().unwrap();
    let (h1, h2) = Host::both(&lab);
    let a = h1.volume("a", DiskFormat::Qcow2);
    let new_a = h2.volume("a", DiskFormat::Qcow2);
    h1.load(&[&a]);
    h2.load(&[&new_a]);
    let mut guest = h1.start("vm", &[a.disk("vda")]);
    guest.write_canary("vda", 10, "DISK-CANARY").unwrap();
    guest
        .output("yes MEMORY-CANARY | head -c 1000000 >/tmp/memory")
        .unwrap();
    let capture = lab.first().captured(LINK).unwrap();
    let uri = lab.second().migration_uri();
    virsh(
        lab.first(),
        &["migrate", "--live", "--p2p", "--copy-storage-all", "vm", &uri],
    );
    let captured = capture.stop().unwrap();
    let hits = ["MEMORY-CANARY", "DISK-CANARY"].map(|text| find_in([&captured.file], text).unwrap().len());
    println!("{hits:?} hits");
    assert!(hits[0] > 1000 && hits[1] > 100, "{hits:?}");
}
