//! Every operation ends at each of its steps in every way, on a host in memory.

use std::path::Path;

use strongroom_pool_block::{DeviceShelf, ErrorKind};
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    CloneKey, PoolDriver, PoolError, SourceImage, Template, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{ByteSize, DeviceSize, DiskFormat};

use crate::fuse::End;
use crate::site::{MIB, Memory, Site, volume};

type Operation = dyn Fn(&Site<DeviceShelf>) -> Result<Volume, PoolError>;

/// What is there before the operation.
type Prepare = fn(&Site<DeviceShelf>);

const SIZES: [u64; 3] = [64 * MIB, 80 * MIB, 96 * MIB];
const ALL: u64 = 240 * MIB;

fn image() -> SourceImage<'static> {
    SourceImage::new(Path::new("/images/base.raw"), DiskFormat::Raw)
}

/// What is prepared, and the operation, which makes or changes volume `v`.
fn operations() -> Vec<(&'static str, Prepare, Box<Operation>)> {
    let template = || VolumeContent::Template(Template::unnamed(image()));
    let create = move |format, encrypted: bool, from_template: bool| -> Box<Operation> {
        Box::new(move |site| {
            let key = if encrypted {
                site.encrypted()
            } else {
                VolumeKey::Plain
            };
            let content = if from_template {
                template()
            } else {
                VolumeContent::Blank
            };
            site.create("v", 16 * MIB, format, key, content)
        })
    };
    let nothing = |_: &Site<_>| {};
    let (raw, qcow2) = (DiskFormat::Raw, DiskFormat::Qcow2);
    let grow = |site: &Site<_>| site.grow("v", 16 * MIB, site.encrypted());
    vec![
        ("raw luks", nothing, create(raw, true, false)),
        ("raw luks of a template", nothing, create(raw, true, true)),
        ("plain raw", nothing, create(raw, false, false)),
        ("plain raw of a template", nothing, create(raw, false, true)),
        ("qcow2 luks", nothing, create(qcow2, true, false)),
        ("plain qcow2 of a template", nothing, create(qcow2, false, true)),
        ("grow raw", |site| small(site, DiskFormat::Raw), Box::new(grow)),
        (
            "grow qcow2",
            |site| small(site, DiskFormat::Qcow2),
            Box::new(grow),
        ),
        (
            "clone",
            |site| {
                let blank = VolumeContent::Blank;
                site.create("source", 16 * MIB, DiskFormat::Raw, site.encrypted(), blank)
                    .unwrap();
            },
            Box::new(|site| {
                let key = CloneKey::Own(site.encrypted());
                site.clone_with("source", site.encrypted(), "v", key)
            }),
        ),
    ]
}

/// Volume `v`, to be made larger.
fn small(site: &Site<DeviceShelf>, format: DiskFormat) {
    let content = VolumeContent::Template(Template::unnamed(image()));
    site.create("v", 8 * MIB, format, site.encrypted(), content)
        .unwrap();
}

fn memory() -> Memory {
    let memory = Memory::new(&SIZES);
    memory.node.add_image(image().path, ByteSize::bytes(4 * MIB));
    memory
}

/// A site like the one of a process that has just been started, with the key of the one before.
fn restarted(memory: &Memory, before: Site<DeviceShelf>) -> Site<DeviceShelf> {
    let mut site = memory.site();
    site.key = before.key;
    site
}

/// Runs an operation to each of its steps and `then` what is to be seen after it. Says how many steps there were.
fn at_every_step(
    prepare: Prepare,
    operation: &Operation,
    then: impl Fn(&str, &Memory, Site<DeviceShelf>),
) -> usize {
    let mut steps = 0;
    for end in End::ALL {
        for step in 0.. {
            let memory = memory();
            let site = memory.site();
            prepare(&site);
            site.fuse.arm(step, end);
            let done = operation(&site);
            if !site.fuse.disarm() {
                done.unwrap();
                break;
            }
            // A failure on the way may be made good by the driver itself; a process that was killed says nothing.
            assert!(
                !matches!((end, &done), (End::KilledBefore, Ok(_))),
                "{end:?} at step {step} was not noticed"
            );
            then(
                &format!("{end:?} at step {step}"),
                &memory,
                restarted(&memory, site),
            );
            steps += 1;
        }
    }
    steps
}

#[test]
fn an_operation_that_ended_at_any_step_is_finished_by_the_same_call() {
    for (name, prepare, operation) in operations() {
        let steps = at_every_step(prepare, &*operation, |how, _, site| {
            let between = site.get("v").unwrap_or_else(|e| panic!("{name}, {how}: {e}"));
            let finished = operation(&site).unwrap_or_else(|e| panic!("{name}, {how}: {e}"));
            if let Some(between) = between {
                let sizes = [8 * MIB, finished.guest.get()];
                assert!(sizes.contains(&between.guest.get()), "{name}, {how}: {between:?}");
            }
            assert_eq!(finished.guest.get(), 16 * MIB, "{name}, {how}");
            assert_eq!(site.get("v").unwrap(), Some(finished), "{name}, {how}");
        });
        assert!(steps > 20, "{name}: {steps}");
    }
}

#[test]
fn what_an_operation_left_at_any_step_is_removed_with_the_volume_and_the_device_is_blank_again() {
    for (name, prepare, operation) in operations() {
        at_every_step(prepare, &*operation, |how, memory, site| {
            for volume in ["v", "source"] {
                site.delete(volume)
                    .unwrap_or_else(|e| panic!("{name}, {how}: {e}"));
            }
            assert_eq!(site.free(), ALL, "{name}, {how}");
            assert_blank(memory, &format!("{name}, {how}"));
        });
    }
}

#[test]
fn recovery_removes_what_is_not_whole_and_nothing_else() {
    for (name, prepare, operation) in operations() {
        at_every_step(prepare, &*operation, |how, _, site| {
            let before = (site.get("v").unwrap(), site.get("source").unwrap());
            site.pool.recover(&site.cx()).unwrap();
            let after = (site.get("v").unwrap(), site.get("source").unwrap());
            assert_eq!(before, after, "{name}, {how}");
            let there = [before.0, before.1].into_iter().flatten();
            let taken: u64 = there.map(|v| v.device.get()).sum();
            assert_eq!(site.free(), ALL - taken, "{name}, {how}");
        });
    }
}

#[test]
fn a_removal_that_ended_at_any_step_leaves_nothing_readable_and_is_finished_by_the_same_call() {
    let kinds = [
        (DiskFormat::Raw, true),
        (DiskFormat::Raw, false),
        (DiskFormat::Qcow2, true),
        (DiskFormat::Qcow2, false),
    ];
    for (format, encrypted) in kinds {
        for end in End::ALL {
            for step in 0.. {
                let memory = memory();
                let site = memory.site();
                let key = if encrypted {
                    site.encrypted()
                } else {
                    VolumeKey::Plain
                };
                let content = VolumeContent::Template(Template::unnamed(image()));
                site.create("v", 16 * MIB, format, key, content).unwrap();
                site.fuse.arm(step, end);
                let done = site.delete("v");
                let blown = site.fuse.disarm();
                let site = restarted(&memory, site);
                if !blown {
                    done.unwrap();
                    assert_eq!(site.get("v").unwrap(), None);
                    break;
                }
                let how = format!("{format}, {encrypted}, {end:?} at step {step}");
                site.get("v").unwrap_or_else(|e| panic!("{how}: {e}"));
                site.delete("v").unwrap_or_else(|e| panic!("{how}: {e}"));
                assert_eq!(site.free(), ALL, "{how}");
                assert_blank(&memory, &how);
            }
        }
    }
}

#[test]
fn a_volume_that_was_begun_with_one_key_is_made_with_another() {
    let (memory, other) = (memory(), Passphrase::generate().unwrap());
    let create = |site: &Site<_>, key: VolumeKey<'_>| {
        site.create("v", 16 * MIB, DiskFormat::Raw, key, VolumeContent::Blank)
    };
    let site = memory.site();
    // Up to the answer of the format: the header is there, and the process is not.
    for step in 0.. {
        site.fuse.arm(step, End::KilledAfter);
        create(&site, site.encrypted()).unwrap_err();
        site.fuse.disarm();
        if memory.node.commands().contains(&"FormatDevice".to_owned()) {
            break;
        }
        site.delete("v").unwrap();
    }
    let site = restarted(&memory, site);
    assert_eq!(site.get("v").unwrap(), None);
    create(&site, VolumeKey::Encrypted(&other)).unwrap();
    let refused = create(&site, site.encrypted()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongKey, "{refused}");
}

#[track_caller]
fn assert_blank(memory: &Memory, how: &str) {
    let site = memory.site();
    // What is on a device is looked at when a volume gets it; these three take all there are.
    for (number, size) in SIZES.into_iter().enumerate() {
        let name = format!("probe-{number}");
        let made = site.create(
            &name,
            size,
            DiskFormat::Raw,
            VolumeKey::Plain,
            VolumeContent::Blank,
        );
        let made = made.unwrap_or_else(|e| panic!("{how}: {e}: {:?}", std::error::Error::source(&e)));
        assert_eq!(made.device, DeviceSize::new(size).unwrap(), "{how}");
    }
    for number in 0..SIZES.len() {
        site.delete(&format!("probe-{number}")).unwrap();
    }
    assert_eq!(site.get(volume("v").as_str()).unwrap(), None, "{how}");
}
