use std::path::Path;

use strongroom_exec::{CommandSpec, Program};
use strongroom_lab::{Console, Hypervisors};
use strongroom_libvirt::{Arrival, BlockNode, LibvirtError, MachineState, MigratedDisks, Migration};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat};

use crate::migration::arrival;
use crate::place::{Host, run};

/// The guest runs on the first host with a disk that works and nothing of the move, and the other host has neither guest nor key.
fn still_here(h1: &Host<'_>, h2: &Host<'_>, guest: &mut Console, before: &[BlockNode], number: u64) {
    let call = Call::new();
    let machine = h1.machine("vm");
    assert_eq!(machine.state(&call).unwrap(), MachineState::Running);
    assert_eq!(h2.machines(), "");
    let names = |nodes: &[BlockNode]| nodes.iter().map(|node| node.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&machine.block_nodes(&call).unwrap()), names(before));
    assert_eq!(machine.block_jobs(&call).unwrap(), []);
    let canary = format!("STILL-HERE-{number}");
    guest.write_canary("vda", number, &canary).unwrap();
    assert_eq!(guest.read_canary("vda", number).unwrap(), canary);
    h2.unload_all();
}

#[test]
fn a_move_that_fails_leaves_the_guest_where_it_was_and_nothing_on_the_other_host() {
    let lab = Hypervisors::up().unwrap();
    let (h1, h2) = Host::both(&lab);
    let call = Call::new();
    let a = h1.volume("a", DiskFormat::Qcow2);
    let new_a = h2.volume("a", DiskFormat::Qcow2);
    h1.load(&[&a]);
    let mut guest = h1.start("vm", &[a.disk("vda")]);
    h1.unload_all();
    // More than the small file system below has room for.
    guest
        .output("dd if=/dev/zero of=/dev/vda bs=1M count=24 conv=fsync")
        .unwrap();
    let machine = h1.machine("vm");
    let before = machine.block_nodes(&call).unwrap();
    let migration = |arrivals: Vec<Arrival>| {
        let to = lab.second().migration_uri().parse().unwrap();
        Migration::new(to, MigratedDisks::Copied(arrivals))
    };
    let moved = migration(vec![arrival("vda", &new_a)]);

    let no_key = machine.migrate(&call, &moved).unwrap_err();
    assert!(matches!(no_key, LibvirtError::NoSecret { .. }), "{no_key:?}");
    still_here(&h1, &h2, &mut guest, &before, 1);

    let other = Passphrase::generate().unwrap();
    h2.connection.load_secret(&call, &new_a.secret, &other).unwrap();
    let wrong_key = machine.migrate(&call, &moved).unwrap_err();
    assert!(
        matches!(wrong_key, LibvirtError::WrongKey { .. }),
        "{wrong_key:?}"
    );
    still_here(&h1, &h2, &mut guest, &before, 2);

    h2.load(&[&new_a]);
    let stranger = machine
        .migrate(&call, &moved.clone().named("stranger"))
        .unwrap_err();
    assert!(
        stranger
            .to_string()
            .contains("Certificate does not match the hostname stranger"),
        "{stranger}"
    );
    still_here(&h1, &h2, &mut guest, &before, 3);

    h2.load(&[&new_a]);
    let nowhere = lab.second().migration_uri().replace("//h2/", "//h3/");
    let nowhere = Migration::new(nowhere.parse().unwrap(), moved.disks.clone());
    let nowhere = machine.migrate(&call, &nowhere).unwrap_err();
    assert!(
        nowhere.to_string().contains("Unable to resolve address 'h3'"),
        "{nowhere}"
    );
    still_here(&h1, &h2, &mut guest, &before, 4);

    std::fs::remove_file(&new_a.file).unwrap();
    h2.load(&[&new_a]);
    let no_image = machine.migrate(&call, &moved).unwrap_err();
    assert!(
        no_image.to_string().contains("Storage pool not found"),
        "{no_image}"
    );
    assert!(!new_a.file.exists(), "libvirt has made an image");
    still_here(&h1, &h2, &mut guest, &before, 5);

    // A file system that has room for a part.
    let small = lab.second().local().join("small");
    let outside = lab.second().outside(&small);
    std::fs::create_dir(&outside).unwrap();
    mount_small(&h2, &small);
    let full = h2.volume("full", DiskFormat::Qcow2);
    let copy = CommandSpec::new(Program::find("cp").unwrap())
        .arg(lab.second().local().join("full"))
        .arg(&small);
    run(&lab.second().enter(&copy).unwrap());
    let image = strongroom_libvirt::Image::encrypted(
        strongroom_libvirt::Source::File(small.join("full")),
        DiskFormat::Qcow2,
        full.secret.uuid(),
    );
    h2.load(&[&full]);
    let full = machine
        .migrate(
            &call,
            &migration(vec![Arrival::new("vda".parse().unwrap(), image)]),
        )
        .unwrap_err();
    assert!(matches!(full, LibvirtError::NoSpace { .. }), "{full:?}");
    still_here(&h1, &h2, &mut guest, &before, 6);
}

/// 12 MB in memory.
fn mount_small(host: &Host<'_>, at: &Path) {
    let mount = CommandSpec::new(Program::find("mount").unwrap())
        .args(["-t", "tmpfs", "-o", "size=12m", "small"])
        .arg(at);
    run(&host.lab.enter(&mount).unwrap());
}
