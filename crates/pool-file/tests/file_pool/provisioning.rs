use std::sync::Barrier;
use std::thread;

use strongroom_storage_pool::{ErrorKind, PoolDriver, VolumeKey};
use strongroom_types::{ByteSize, DiskFormat};

use crate::machine::Machine;
use crate::site::{MIB, Site, config, guest, in_memory, refused};

const GIB: u64 = 1 << 30;

#[test]
fn volumes_promise_no_more_than_the_factor_allows() {
    // The directory is on a file system of 4 GiB.
    let (site, node) = in_memory(config().promising_up_to(150));
    let create = |name: &str, size| site.create(name, size, DiskFormat::Qcow2, site.encrypted());
    create("a", 4 * GIB).unwrap();
    let words = &["promise 4 GiB already", "with 3 GiB more", "limit of 6 GiB"];
    refused(create("b", 3 * GIB), ErrorKind::NoSpace, words);
    create("b", 2 * GIB).unwrap();
    create("b", 2 * GIB).unwrap();
    let usage = site.pool.usage(&site.cx()).unwrap();
    assert_eq!(
        (usage.provisioned, usage.provisionable),
        (Some(ByteSize::gib(6)), Some(ByteSize::gib(6)))
    );
    refused(create("c", MIB), ErrorKind::NoSpace, &["limit of 6 GiB"]);
    refused(
        site.grow("b", 3 * GIB, site.encrypted()),
        ErrorKind::NoSpace,
        &["promise 4 GiB already"],
    );
    refused(
        site.clone("b", site.encrypted(), "c", site.encrypted()),
        ErrorKind::NoSpace,
        &["limit of 6 GiB"],
    );
    site.shrink("b", GIB, site.encrypted()).unwrap();
    site.grow("b", GIB, site.encrypted()).unwrap();
    create("c", GIB).unwrap();
    site.delete("a").unwrap();
    create("d", 4 * GIB).unwrap();
    assert_eq!(node.paths().len(), 3);
}

#[test]
fn what_others_made_and_removed_counts_and_each_is_looked_into_once() {
    let (site, node) = in_memory(config().promising_up_to(100));
    for n in 0..3 {
        node.add_blank(format!("/pool/others-{n}.raw"), guest(GIB));
    }
    node.add_blank("/pool/no volume", guest(GIB));
    let looks = || node.commands().iter().filter(|c| *c == "InspectDisk").count();
    let promised = |site: &Site<_>| site.pool.usage(&site.cx()).unwrap().provisioned.unwrap();
    assert_eq!((promised(&site), looks()), (ByteSize::gib(3), 3));
    assert_eq!((promised(&site), looks()), (ByteSize::gib(3), 3));
    refused(
        site.create("v", 2 * GIB, DiskFormat::Raw, VolumeKey::Plain),
        ErrorKind::NoSpace,
        &["promise 3 GiB already"],
    );
    node.remove("/pool/others-0.raw".as_ref());
    assert_eq!(promised(&site), ByteSize::gib(2));
    site.create("v", 2 * GIB, DiskFormat::Raw, VolumeKey::Plain)
        .unwrap();
    assert_eq!(promised(&site), ByteSize::gib(4));
}

#[test]
fn without_a_factor_any_size_is_promised_and_nothing_is_counted() {
    let (site, node) = in_memory(config());
    site.create("v", 1 << 50, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    assert_eq!(site.pool.usage(&site.cx()).unwrap().provisioned, None);
    assert!(!node.commands().contains(&"ListDirectory".to_owned()));
}

#[test]
fn calls_at_once_share_what_may_be_promised() {
    let machine = Machine::new();
    let mount = crate::machine::Mount::tmpfs(machine.pool(), "64m");
    let site = machine.site_with(machine.config().promising_up_to(100));
    let start = Barrier::new(6);
    let made: usize = thread::scope(|scope| {
        let calls: Vec<_> = (0..6)
            .map(|n| {
                let (site, start) = (&site, &start);
                scope.spawn(move || {
                    start.wait();
                    let made = site.create(&format!("v{n}"), 20 * MIB, DiskFormat::Qcow2, site.encrypted());
                    match made {
                        Ok(_) => 1,
                        Err(e) => {
                            assert_eq!(e.kind(), ErrorKind::NoSpace, "{e:?}");
                            0
                        }
                    }
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).sum()
    });
    assert_eq!((made, machine.files().len()), (3, 3));
    let usage = site.pool.usage(&site.cx()).unwrap();
    assert_eq!(usage.provisioned.map(ByteSize::get), Some(60 * MIB));
    drop(mount);
}
