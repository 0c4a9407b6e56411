//! What each operation does and answers when nothing goes wrong.

use std::path::Path;

use strongroom_control_plane::{
    ControlPlane, ControlPlaneError, NewContent, NewOffering, OfferingFilter, Sameness, SourceImage,
    TemplateImage, VolumeState,
};
use strongroom_storage_pool::fake::{MemoryPool, Moment};
use strongroom_storage_pool::{ErrorKind, PoolError};
use strongroom_types::{
    ByteSize, Call, Capability, DiskFormat, EncryptionFormat, Finding, HostFacts, VolumeId,
};

use crate::site::{Site, able_host, create, id, mib, new_volume};

fn raw(path: &str) -> SourceImage<'_> {
    SourceImage::new(Path::new(path), DiskFormat::Raw)
}

#[test]
fn an_encrypted_volume_is_recorded_with_its_key_and_sizes() {
    let (site, control) = Site::new();
    let made = control
        .create_volume(&Call::new(), &new_volume("vol", "secret-raw"))
        .unwrap();
    assert_eq!(made.state, VolumeState::Ready);
    assert_eq!(made.guest, mib(1));
    assert_eq!(made.device.unwrap().get(), 3 << 20, "1 MiB and a header of 2 MiB");
    assert_eq!(made.encryption, Some(EncryptionFormat::Luks1));
    assert_eq!(made.format, DiskFormat::Raw);
    assert_eq!(made.pool.as_str(), "main");
    assert_eq!(control.volume(&id("vol")).unwrap(), made);
    let key = control
        .with_key(&id("vol"), |key| key.expose_secret().to_vec())
        .unwrap();
    assert!(key.len() >= 32);
    site.assert_sound(&control);
}

#[test]
fn a_plain_volume_has_no_key_and_no_encryption() {
    let (site, control) = Site::new();
    create(&control, "vol", "plain");
    let made = control.volume(&id("vol")).unwrap();
    assert_eq!((made.encryption, made.passphrase), (None, None));
    assert_eq!(site.count("passphrases"), 0);
    let refused = control.with_key(&id("vol"), |_| ()).unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::NotEncrypted { .. }),
        "{refused}"
    );
    let refused = control
        .back_up_header(&Call::new(), &id("vol"), Path::new("/backups/vol"))
        .unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::NotEncrypted { .. }),
        "{refused}"
    );
    site.assert_sound(&control);
}

#[test]
fn a_volume_without_an_id_gets_one_that_no_other_has() {
    let (_site, control) = Site::new();
    let mut new = new_volume("x", "secret");
    new.id = None;
    let one = control.create_volume(&Call::new(), &new).unwrap();
    let other = control.create_volume(&Call::new(), &new).unwrap();
    assert_ne!(one.id, other.id);
    assert_ne!(one.passphrase, other.passphrase);
}

#[test]
fn content_is_copied_compared_replaced_and_brought_back() {
    let (site, control) = Site::new();
    let call = Call::new();
    let vol: VolumeId = id("vol");
    let mut new = new_volume("vol", "secret");
    new.content = NewContent::Image(TemplateImage::new("/templates/a", DiskFormat::Raw));
    control.create_volume(&call, &new).unwrap();
    let same = |path| control.compare_content(&call, &vol, &raw(path)).unwrap();
    assert_eq!(same("/templates/a"), Sameness::Identical);
    assert_eq!(same("/images/b"), Sameness::Different);

    let taken = control.create_snapshot(&call, &vol, &id("before")).unwrap();
    assert_eq!(
        (taken.id.as_str(), taken.guest, &taken.volume),
        ("before", mib(1), &vol)
    );
    assert_eq!(control.grow_volume(&call, &vol, mib(2)).unwrap().guest, mib(2));
    control.replace_content(&call, &vol, &raw("/images/b")).unwrap();
    assert_eq!(same("/images/b"), Sameness::Identical);

    let restored = control.restore_snapshot(&call, &vol, &id("before")).unwrap();
    assert_eq!(restored.guest, mib(1), "a snapshot brings its size back");
    assert_eq!(same("/templates/a"), Sameness::Identical);
    assert_eq!(control.snapshots(&vol).unwrap(), [taken]);
    control.delete_snapshot(&call, &vol, &id("before")).unwrap();
    assert_eq!(control.snapshots(&vol).unwrap(), []);
    site.assert_sound(&control);
}

#[test]
fn growing_to_the_size_that_it_has_asks_nobody() {
    let (site, control) = Site::new();
    let vol = create(&control, "vol", "secret");
    let before = site.host.inner.commands().len();
    assert_eq!(
        control.grow_volume(&Call::new(), &vol, mib(1)).unwrap().guest,
        mib(1)
    );
    assert_eq!(site.host.inner.commands().len(), before);
}

#[test]
fn a_verification_says_what_was_checked_and_that_the_record_agrees() {
    let (_site, control) = Site::new();
    let vol = create(&control, "vol", "secret-raw");
    let verified = control.verify_volume(&Call::new(), &vol).unwrap();
    assert_eq!(
        verified.checked.last().unwrap(),
        "the record agrees: raw, luks1, 1048576 bytes"
    );
    assert_eq!(verified.facts.guest, mib(1));
}

#[test]
fn offerings_are_listed_by_whether_they_encrypt() {
    let (_site, control) = Site::new();
    let names = |filter| {
        let offerings = control.offerings(filter).unwrap();
        offerings
            .into_iter()
            .map(|o| o.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(OfferingFilter::all()),
        ["plain", "plain-raw", "secret", "secret-raw"]
    );
    assert_eq!(names(OfferingFilter::encrypting(true)), ["secret", "secret-raw"]);
    assert_eq!(names(OfferingFilter::encrypting(false)), ["plain", "plain-raw"]);
    let mut new = NewOffering::new(id("fast"), true, DiskFormat::Raw);
    new.description = "for databases".into();
    let made = control.create_offering(&new).unwrap();
    assert_eq!(made.description, "for databases");
}

#[test]
fn what_is_registered_of_a_host_comes_back_and_is_replaced() {
    let (site, control) = Site::new();
    let mut facts = able_host("node-1", &["main"]);
    facts.free_memory = ByteSize::gib(4);
    facts
        .capabilities
        .record(Capability::Luks2, Finding::Missing("no cryptsetup".into()));
    control.register_host(&facts).unwrap();
    let again: HostFacts = able_host("node-1", &[]);
    let hosts = control.hosts().unwrap();
    assert_eq!(hosts[0].facts, facts);
    control.register_host(&again).unwrap();
    drop(control);
    let control = site.start();
    assert_eq!(control.hosts().unwrap().len(), 1);
    assert_eq!(control.hosts().unwrap()[0].facts, again);
}

#[test]
fn everything_is_there_after_a_restart() {
    let (site, control) = Site::new();
    create(&control, "a", "secret");
    create(&control, "b", "plain-raw");
    let before = (control.volumes().unwrap(), control.pools().unwrap());
    drop(control);
    let (control, recovered) = site.recover();
    assert_eq!(recovered, []);
    assert_eq!((control.volumes().unwrap(), control.pools().unwrap()), before);
    site.assert_sound(&control);
}

#[test]
fn a_volume_that_could_not_be_detached_is_detached_before_the_next_work() {
    let (site, control) = Site::bare(able_host("local", &["pool"]));
    let (pool, control) = site.add_memory(control, MemoryPool::new(id("pool")));
    let vol = create(&control, "vol", "secret");
    pool.fail_when(|moment, call| {
        let fails = moment == Moment::Before && call.operation == "detach";
        fails.then(|| PoolError::new(ErrorKind::Io, "detach", "no answer"))
    });
    // The host knows nothing of disks in memory; what counts is that the volume stays attached.
    let error = control.verify_volume(&Call::new(), &vol).unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::NotFound));
    assert_eq!(pool.attached(&vol).len(), 1);
    assert_eq!(site.count("attachments"), 1);
    let error = control
        .create_snapshot(&Call::new(), &vol, &id("s"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("detach volume vol from host local"), "{error}");
    pool.fail_when(|_, _| None);
    control.create_snapshot(&Call::new(), &vol, &id("s")).unwrap();
    assert!(pool.attached(&vol).is_empty());
    assert_eq!(site.count("attachments"), 0);
}

#[test]
fn a_driver_is_asked_for_once_and_again_after_an_error() {
    let (site, control) = Site::new();
    let break_it = |yes: bool| {
        let mut broken = site.broken.lock().unwrap();
        match yes {
            true => drop(broken.insert(id("main"))),
            false => drop(broken.remove(&id("main"))),
        }
    };
    create(&control, "vol", "secret");
    break_it(true);
    control.grow_volume(&Call::new(), &id("vol"), mib(2)).unwrap();
    drop(control);
    let control = site.start();
    let error = control.grow_volume(&Call::new(), &id("vol"), mib(3)).unwrap_err();
    assert!(matches!(error, ControlPlaneError::Pool { .. }), "{error}");
    break_it(false);
    control.grow_volume(&Call::new(), &id("vol"), mib(3)).unwrap();
    site.assert_sound(&control);
}

#[test]
fn it_is_shared_between_threads_and_tells_no_secret_in_debug() {
    fn shared<T: Send + Sync + std::fmt::Debug>(_: &T) {}
    let (_site, control) = Site::new();
    create(&control, "vol", "secret");
    shared::<ControlPlane>(&control);
    let key = control
        .with_key(&id("vol"), |key| {
            String::from_utf8(key.expose_secret().to_vec()).unwrap()
        })
        .unwrap();
    assert!(!format!("{control:?}").contains(&key));
}

#[test]
fn the_two_fakes_share_no_disks() {
    let (site, control) = Site::bare(able_host("local", &["fast"]));
    let (_, control) = site.add_memory(control, MemoryPool::new(id("fast")));
    let vol = create(&control, "vol", "secret-raw");
    for refused in [
        control.verify_volume(&Call::new(), &vol).map(drop),
        control
            .back_up_header(&Call::new(), &vol, Path::new("/backups/vol"))
            .map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, ControlPlaneError::Host { .. }), "{refused:?}");
        assert_eq!(refused.kind(), Some(ErrorKind::NotFound));
    }
    let erasure = control.delete_volume(&Call::new(), &vol).unwrap();
    assert_eq!(
        erasure.left,
        ["the disk was not there, so its keyslots were not overwritten"]
    );
}
