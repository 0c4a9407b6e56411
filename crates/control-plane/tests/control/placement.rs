//! Which pool gets a volume, and why none does.

use std::collections::BTreeSet;

use strongroom_control_plane::{ControlPlane, ControlPlaneError, NewContent, TemplateImage};
use strongroom_endpoint_selector::ErrorKind;
use strongroom_storage_pool::fake::{MemoryPool, Moment};
use strongroom_storage_pool::{Capabilities, Encryption, PoolError};
use strongroom_types::{ByteSize, Call, DiskFormat, EncryptionFormat};

use crate::site::{Site, able_host, create, id, new_volume};

#[track_caller]
fn refused(control: &ControlPlane, new: &strongroom_control_plane::NewVolume) -> String {
    let error = control.create_volume(&Call::new(), new).unwrap_err();
    assert!(matches!(error, ControlPlaneError::NoPool { .. }), "{error:?}");
    assert_eq!(control.volumes().unwrap(), []);
    error.to_string()
}

#[test]
fn without_a_pool_there_is_no_volume() {
    let (_site, control) = Site::bare(able_host("local", &[]));
    assert_eq!(
        refused(&control, &new_volume("vol", "secret")),
        "no pool will do: there is none; add one"
    );
}

#[test]
fn the_pool_with_the_most_free_space_that_can_do_it_gets_the_volume() {
    let (site, control) = Site::bare(able_host("local", &["large", "small", "huge"]));
    let (_, control) = site.add_memory(control, MemoryPool::new(id("large")).with_total(ByteSize::gib(2)));
    let (_, control) = site.add_memory(control, MemoryPool::new(id("small")).with_total(ByteSize::gib(1)));
    let huge = MemoryPool::new(id("huge")).with_encryption(Encryption::Unsupported);
    let (_, control) = site.add_memory(control, huge);
    create(&control, "vol", "secret");
    assert_eq!(control.volume(&id("vol")).unwrap().pool.as_str(), "large");
    create(&control, "open", "plain");
    assert_eq!(control.volume(&id("open")).unwrap().pool.as_str(), "huge");
    let mut named = new_volume("named", "secret");
    named.pool = Some(id("small"));
    let made = control.create_volume(&Call::new(), &named).unwrap();
    assert_eq!(made.pool.as_str(), "small");
}

#[test]
fn a_caller_who_stops_is_told_so_and_not_that_no_pool_will_do() {
    let (_site, control) = Site::new();
    let call = Call::new();
    call.cancellation().cancel();
    let stopped = control
        .create_volume(&call, &new_volume("vol", "secret"))
        .unwrap_err();
    assert!(
        matches!(stopped, ControlPlaneError::Interrupted { .. }),
        "{stopped:?}"
    );
}

#[test]
fn every_pool_says_every_reason() {
    let (site, control) = Site::bare(able_host("local", &["bare", "luks2", "storage", "broken"]));
    let (_, control) = site.add_memory(
        control,
        MemoryPool::new(id("bare")).with_capabilities(Capabilities::none()),
    );
    let luks2 = Encryption::OnHost(EncryptionFormat::Luks2);
    let (_, control) = site.add_memory(control, MemoryPool::new(id("luks2")).with_encryption(luks2));
    let storage = MemoryPool::new(id("storage")).with_encryption(Encryption::InStorage);
    let (_, control) = site.add_memory(control, storage);
    let (broken, control) = site.add_memory(control, MemoryPool::new(id("broken")));
    broken.fail_when(|_, _| {
        Some(PoolError::new(
            ErrorKind::Io,
            "usage",
            "the array does not answer",
        ))
    });
    let mut new = new_volume("vol", "secret");
    new.content = NewContent::Image(TemplateImage::new("/templates/a", DiskFormat::Raw));
    let text = refused(&control, &new);
    for reason in [
        "bare cannot encrypt, makes no qcow2 volumes, makes no volumes from templates",
        "luks2 encrypts with luks2, which qcow2 does not have",
        "storage encrypts in the storage, where nobody here can check it",
        "broken cannot be used: ",
        "the array does not answer",
    ] {
        assert!(text.contains(reason), "{reason:?} is not in {text:?}");
    }
    // Only the named pool is asked when one is named.
    new.pool = Some(id("bare"));
    let text = refused(&control, &new);
    assert!(text.starts_with("no pool will do: bare cannot encrypt"), "{text}");
    assert!(!text.contains("storage"), "{text}");
}

#[test]
fn a_pool_that_is_full_or_finds_no_host_is_followed_by_the_next() {
    let (site, control) = Site::bare(able_host("local", &["full", "good"]));
    let (full, control) = site.add_memory(control, MemoryPool::new(id("full")).with_total(ByteSize::gib(9)));
    let (far, control) = site.add_memory(control, MemoryPool::new(id("far")).with_total(ByteSize::gib(8)));
    let (good, control) = site.add_memory(control, MemoryPool::new(id("good")).with_total(ByteSize::gib(1)));
    full.fail_when(|moment, call| {
        let fails = moment == Moment::Before && call.operation == "create";
        fails.then(|| PoolError::new(ErrorKind::NoSpace, "create", "thin pool exhausted"))
    });
    let made = control
        .create_volume(&Call::new(), &new_volume("vol", "secret"))
        .unwrap();
    assert_eq!(made.pool.as_str(), "good");
    assert_eq!((full.volumes(), far.volumes()), (vec![], vec![]));
    assert_eq!(good.volumes(), [id("vol")]);
    assert_eq!(
        site.count("passphrases"),
        1,
        "the key of the failed attempt is gone"
    );

    // When all fail, the answer has every pool's reason and the hosts' reasons.
    good.fail_when(|moment, call| {
        let fails = moment == Moment::Before && call.operation == "create";
        fails.then(|| PoolError::new(ErrorKind::NoSpace, "create", "no room either"))
    });
    let error = control
        .create_volume(&Call::new(), &new_volume("other", "secret"))
        .unwrap_err()
        .to_string();
    for reason in [
        "thin pool exhausted",
        "no room either",
        "local does not reach pool far",
    ] {
        assert!(error.contains(reason), "{reason:?} is not in {error:?}");
    }
    assert_eq!(site.count("volumes"), 1);
}

#[test]
fn a_failure_that_another_pool_would_not_cure_is_the_answer() {
    let (site, control) = Site::bare(able_host("local", &["one", "two"]));
    let (one, control) = site.add_memory(control, MemoryPool::new(id("one")).with_total(ByteSize::gib(9)));
    let (two, control) = site.add_memory(control, MemoryPool::new(id("two")));
    drop(two);
    one.fail_when(|_, call| {
        let fails = call.operation == "create";
        fails.then(|| PoolError::new(ErrorKind::UntrustedImage, "create", "a backing file"))
    });
    let mut new = new_volume("vol", "secret");
    new.pool = Some(id("one"));
    let error = control.create_volume(&Call::new(), &new).unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::UntrustedImage));
}

#[test]
fn no_host_means_every_hosts_reason_and_nothing_begun() {
    let mut facts = able_host("local", &["main"]);
    facts.capabilities.record(
        strongroom_types::Capability::Qcow2Luks,
        strongroom_types::Finding::Missing("qemu-img is not installed".into()),
    );
    let (site, control) = Site::bare(facts);
    let settings = [("directory".to_owned(), "/pools/main".to_owned())];
    let pool = strongroom_control_plane::NewPool::new(id("main"), "file", settings);
    control.add_pool(&Call::new(), &pool).unwrap();
    let error = control
        .create_volume(&Call::new(), &new_volume("vol", "secret"))
        .unwrap_err();
    let ControlPlaneError::NoHost { source, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        source.to_string(),
        "no host will do: local lacks qcow2-luks: qemu-img is not installed"
    );
    let hosts: BTreeSet<_> = source.rejections.iter().map(|(host, _)| host.as_str()).collect();
    assert_eq!(hosts, BTreeSet::from(["local"]));
    assert_eq!(site.count("passphrases"), 0);
    site.assert_sound(&control);
}
