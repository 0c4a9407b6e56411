use strongroom_lab::find_in;
use strongroom_libvirt::{Accelerator, Image, LibvirtError, MachineState, Source};
use strongroom_types::DiskFormat;

use crate::world::{Volume, World, disk, run_words};

#[test]
fn what_a_guest_writes_is_ciphertext_on_qcow2_and_raw_luks_and_it_reads_it_back() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (
        world.volume("a", DiskFormat::Qcow2),
        world.volume("b", DiskFormat::Raw),
    );
    world.run_on([("vda", &a), ("vdb", &b)]);
    assert_eq!(world.connection.secrets(&call).unwrap(), []);

    let machine = world.machine("vm");
    assert_eq!(machine.state(&call).unwrap(), MachineState::Running);
    let mut guest = world.console("vm");
    for (target, volume, canary) in [("vda", &a, "CANARY-OF-VDA"), ("vdb", &b, "CANARY-OF-VDB")] {
        assert_eq!(guest.disk_bytes(target).unwrap(), 64 << 20);
        guest.write_canary(target, 100, canary).unwrap();
        assert_eq!(guest.read_canary(target, 100).unwrap(), canary);
        assert_eq!(find_in([&volume.file], canary).unwrap(), [], "{target}");
    }
    machine.destroy(&call).unwrap();
}

/// What a disk lies on, by the names of the files, with whether each is encrypted.
fn below(world: &World, target: &str) -> Vec<(String, bool)> {
    let live = world.machine("vm").describe(&world.call()).unwrap();
    let disk = live.disk(&target.parse().unwrap()).unwrap();
    let name = |source: &Source| source.path().file_name().unwrap().to_str().unwrap().to_owned();
    let images = disk.backing.iter();
    images
        .map(|image| (name(image.source.as_ref().unwrap()), image.encryption.is_some()))
        .collect()
}

#[test]
fn a_chain_of_encrypted_images_is_read_to_its_lowest_each_with_its_own_key() {
    let world = World::new();
    let call = world.call();
    let (base, middle) = (
        world.volume("base", DiskFormat::Qcow2),
        world.volume("middle", DiskFormat::Raw),
    );
    let all =
        |volumes: &[&Volume], act: fn(&World, &Volume)| volumes.iter().for_each(|volume| act(&world, volume));
    all(&[&base, &middle], World::load);
    world.start(
        &world.domain("vm", [disk("vda", &base.image), disk("vdb", &middle.image)]),
        false,
    );
    let mut guest = world.console("vm");
    guest.write_canary("vda", 3, "IN-THE-QCOW2").unwrap();
    guest.write_canary("vdb", 4, "IN-THE-RAW").unwrap();
    world.machine("vm").destroy(&call).unwrap();

    let over_base = world.overlay("over-base", &base);
    let over_middle = world.overlay("over-middle", &middle);
    all(&[&over_base, &over_middle], World::load);
    let disks = [
        disk("vda", &over_base.image).on([base.image.clone()]),
        disk("vdb", &over_middle.image).on([middle.image.clone()]),
    ];
    world.start(&world.domain("vm", disks), false);
    all(&[&base, &middle, &over_base, &over_middle], World::unload);
    assert_eq!(below(&world, "vda"), [("base".to_owned(), true)]);
    assert_eq!(below(&world, "vdb"), [("middle".to_owned(), true)]);
    let mut guest = world.console("vm");
    assert_eq!(guest.read_canary("vda", 3).unwrap(), "IN-THE-QCOW2");
    assert_eq!(guest.read_canary("vdb", 4).unwrap(), "IN-THE-RAW");
    guest.write_canary("vda", 5, "IN-THE-OVERLAY").unwrap();
    let files = [&base.file, &middle.file, &over_base.file, &over_middle.file];
    for canary in ["IN-THE-QCOW2", "IN-THE-RAW", "IN-THE-OVERLAY"] {
        assert_eq!(find_in(files, canary).unwrap(), [], "{canary}");
    }
    world.machine("vm").destroy(&call).unwrap();
}

#[test]
fn a_backing_file_that_only_a_header_names_is_not_followed() {
    let world = World::new();
    let call = world.call();
    let template = world.host().local().join("template");
    let outside = world.host().outside(&template);
    run_words(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", outside.to_str().unwrap(), "64M"],
    );
    let overlay = world.host().local().join("overlay");
    let words = [
        "create",
        "-q",
        "-u",
        "-f",
        "qcow2",
        "-F",
        "qcow2",
        "-b",
        template.to_str().unwrap(),
    ];
    let file = world.host().outside(&overlay);
    run_words(
        "qemu-img",
        &[&words[..], &[file.to_str().unwrap(), "64M"]].concat(),
    );

    let image = Image::plain(Source::File(overlay), DiskFormat::Qcow2);
    world.start(&world.domain("vm", [disk("vda", &image)]), true);
    assert_eq!(below(&world, "vda"), []);
    let nodes = world.machine("vm").block_nodes(&call).unwrap();
    assert!(
        nodes.iter().all(|node| !node.file.contains("template")),
        "{nodes:?}"
    );
    world.machine("vm").destroy(&call).unwrap();

    let template = Image::plain(Source::File(template), DiskFormat::Qcow2);
    world.start(&world.domain("vm", [disk("vda", &image).on([template])]), true);
    assert_eq!(below(&world, "vda"), [("template".to_owned(), false)]);
    world.machine("vm").destroy(&call).unwrap();
}

#[test]
fn a_hostile_file_name_is_only_a_name() {
    let world = World::new();
    let call = world.call();
    let hostile = world
        .host()
        .local()
        .join("a'\"<b>&amp;,é \u{1f511}]]>--><disk.img");
    let file = world.host().outside(&hostile);
    std::fs::File::create(&file).unwrap().set_len(1 << 20).unwrap();
    let source = Source::File(hostile);
    world.start(
        &world.domain(
            "vm",
            [disk("vda", &Image::plain(source.clone(), DiskFormat::Raw))],
        ),
        true,
    );
    let live = world.machine("vm").describe(&call).unwrap();
    assert_eq!(live.disks[0].image.source, Some(source));
    assert_eq!(live.disks.len(), 1);
    world.machine("vm").destroy(&call).unwrap();
}

#[test]
fn a_guest_is_paused_resumed_asked_to_go_down_and_known_by_what_it_is() {
    let world = World::new();
    let call = world.call();
    let a = world.volume("a", DiskFormat::Qcow2);
    world.load(&a);
    assert_eq!(
        world.connection.accelerator(&call).unwrap(),
        Accelerator::Emulation,
        "the lab has no KVM"
    );
    let version = world.connection.version(&call).unwrap();
    assert!(version.split('.').count() == 3, "{version}");

    world.start(&world.domain("vm", [disk("vda", &a.image).read_only()]), true);
    let machine = world.machine("vm");
    assert_eq!(machine.state(&call).unwrap(), MachineState::Paused);
    machine.resume(&call).unwrap();
    assert_eq!(machine.state(&call).unwrap(), MachineState::Running);
    machine.suspend(&call).unwrap();
    machine.suspend(&call).unwrap();
    assert_eq!(machine.state(&call).unwrap(), MachineState::Paused);
    let refused = machine.shut_down(&call).unwrap_err();
    assert!(matches!(refused, LibvirtError::NotRunning { .. }), "{refused:?}");
    machine.resume(&call).unwrap();
    machine.shut_down(&call).unwrap();
    let live = machine.describe(&call).unwrap();
    assert!(live.disks[0].read_only && live.ours);
    assert_eq!(live.console, Some(world.host().local().join("vm.console")));
    machine.destroy(&call).unwrap();
    assert_eq!(world.connection.machines(&call).unwrap(), []);
}
