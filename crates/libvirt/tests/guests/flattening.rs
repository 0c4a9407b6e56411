use strongroom_lab::find_in;
use strongroom_libvirt::{Image, LibvirtError, Refusal, Source};
use strongroom_types::DiskFormat;

use crate::content::holds_encrypted;
use crate::snapshots::live;
use crate::world::{Volume, World, disk, run_words};
use crate::writer::{CANARY, Writer};

#[test]
fn an_encrypted_overlay_on_a_plain_template_is_never_merged_into_it_and_takes_all_in() {
    let world = World::new();
    let call = world.call();
    let inside = world.host().local().join("template");
    let file = world.host().outside(&inside);
    let words = ["create", "-q", "-f", "qcow2", file.to_str().unwrap(), "64M"];
    run_words("qemu-img", &words);
    let write = "write -s";
    let text = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(text.path(), "OF-THE-TEMPLATE\n".repeat(4096)).unwrap();
    run_words(
        "qemu-io",
        &[
            "-f",
            "qcow2",
            "-c",
            &format!("{write} {} 1M 64k", text.path().display()),
            file.to_str().unwrap(),
        ],
    );
    assert_ne!(find_in([&file], "OF-THE-TEMPLATE").unwrap(), []);
    let template = Volume {
        image: Image::plain(Source::File(inside), DiskFormat::Qcow2),
        ..world.volume("key-of-nothing", DiskFormat::Raw)
    };
    let root = world.overlay("root", &template);
    world.load(&root);
    let disks = [disk("vda", &root.image).on([template.image.clone()])];
    world.start(&world.domain("vm", disks), false);
    world.unload(&root);
    let machine = world.machine("vm");
    let target = "vda".parse().unwrap();
    let mut guest = world.console("vm");
    assert!(
        guest
            .read_canary("vda", 256)
            .unwrap()
            .starts_with("OF-THE-TEMPLATE")
    );
    guest.write_canary("vda", 8000, "OF-THE-GUEST").unwrap();

    let merged = machine.merge_overlay(&call, &target).unwrap_err();
    assert!(
        matches!(merged, LibvirtError::Refused(Refusal::InClear { .. })),
        "{merged:?}"
    );
    assert_eq!(find_in([&file], "OF-THE-GUEST").unwrap(), []);

    let writer = Writer::start(&mut guest, "vda");
    let below = machine.flatten_disk(&call, &target).unwrap();
    assert_eq!(below[0].source.as_ref(), Some(template.image.source()));
    assert_eq!(below.len(), 1);
    assert_eq!(live(&machine, "vda").backing, []);
    assert_eq!(machine.flatten_disk(&call, &target).unwrap(), []);
    writer.finish(&mut guest);
    std::fs::remove_file(&file).unwrap();
    guest.output("echo 3 >/proc/sys/vm/drop_caches").unwrap();
    assert!(
        guest
            .read_canary("vda", 256)
            .unwrap()
            .starts_with("OF-THE-TEMPLATE")
    );
    for canary in ["OF-THE-TEMPLATE", "OF-THE-GUEST", CANARY] {
        holds_encrypted(&[&root], canary);
    }
    assert_eq!(find_in([&root.file], "template").unwrap(), [], "its name neither");
    machine.destroy(&call).unwrap();
}
