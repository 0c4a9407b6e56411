use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_endpoint_selector::{Endpoint, EndpointError, HostAnswer, HostCommand, RegisteredEndpoints};
use strongroom_storage_pool::SnapshotAction::Create;
use strongroom_storage_pool::{ErrorKind, PoolDriver, PoolError, VolumeContent};
use strongroom_types::{Call, DiskFormat, HostFacts};

use crate::machine::{Machine, Mount, agent};
use crate::site::{MIB, Site, named, refused, unnamed};

/// A call that does this at its first sign of progress, and whether it came to that.
fn at_first_progress(act: impl Fn() + Send + Sync + 'static) -> (Call, Arc<AtomicBool>) {
    let acted = Arc::new(AtomicBool::new(false));
    let seen = acted.clone();
    let call = Call::new().with_progress(Arc::new(move |_| {
        if !seen.swap(true, Ordering::SeqCst) {
            act();
        }
    }));
    (call, acted)
}

#[test]
fn a_template_that_changes_while_it_is_copied_makes_no_volume_and_is_not_kept() {
    let machine = Machine::new();
    let mut site = machine.site();
    let (image, id) = (machine.image("image", 1, 16 << 20), "t".parse().unwrap());
    for content in [
        VolumeContent::Template(unnamed_template(&image)),
        VolumeContent::Template(named(&id, &image)),
        VolumeContent::Overlay(named(&id, &image)),
    ] {
        let changed = image.clone();
        let (call, acted) = at_first_progress(move || {
            let mut file = OpenOptions::new().write(true).open(&changed).unwrap();
            file.write_all(b"another content").unwrap();
        });
        site.call = call;
        let made = site.create_with("v", 16 * MIB, DiskFormat::Qcow2, site.encrypted(), content);
        assert!(acted.load(Ordering::SeqCst), "nothing was copied");
        refused(
            made,
            ErrorKind::Busy,
            &["main", "image was changed while it was read"],
        );
        assert!(machine.files().is_empty() && machine.templates().is_empty());
        site.call = Call::new();
        site.create_with("v", 16 * MIB, DiskFormat::Qcow2, site.encrypted(), content)
            .unwrap();
        assert!(machine.holds(&site, "v", site.encrypted(), &image));
        site.delete("v").unwrap();
        site.forget("t").unwrap();
    }
}

fn unnamed_template(image: &std::path::Path) -> strongroom_storage_pool::Template<'_> {
    match unnamed(image) {
        VolumeContent::Template(template) => template,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_directory_that_vanishes_in_the_middle_of_a_copy_gets_no_volume() {
    let machine = Machine::new();
    let mut site = machine.site();
    site.create("kept", MIB, DiskFormat::Raw, site.encrypted())
        .unwrap();
    let image = machine.image("image", 1, 16 << 20);
    let (pool, away) = (machine.pool(), machine.path("away"));
    let (from, to) = (pool.clone(), away.clone());
    let (call, acted) = at_first_progress(move || fs::rename(&from, &to).unwrap());
    site.call = call;
    site.create_with(
        "v",
        16 * MIB,
        DiskFormat::Qcow2,
        site.encrypted(),
        unnamed(&image),
    )
    .unwrap_err();
    assert!(acted.load(Ordering::SeqCst) && !pool.exists());
    fs::rename(&away, &pool).unwrap();
    site.call = Call::new();
    assert_eq!(site.get("v").unwrap(), None);
    site.pool.recover(&site.cx()).unwrap();
    assert_eq!(machine.files(), ["kept.luks"]);
    site.create("kept", MIB, DiskFormat::Raw, site.encrypted())
        .unwrap();
    site.create_with(
        "v",
        16 * MIB,
        DiskFormat::Qcow2,
        site.encrypted(),
        unnamed(&image),
    )
    .unwrap();
}

/// A host whose file system becomes read-only when it has looked at the directory and is to change something.
struct Turning {
    inner: Arc<dyn Endpoint>,
    turn: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Turning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turning").finish_non_exhaustive()
    }
}

impl Endpoint for Turning {
    fn host(&self) -> HostFacts {
        self.inner.host()
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        if !matches!(
            command,
            HostCommand::OpenDirectory(_) | HostCommand::InspectDisk(_)
        ) {
            (self.turn)();
        }
        self.inner.run(call, command)
    }
}

#[test]
fn a_pool_that_becomes_read_only_between_look_and_work_is_unchanged() {
    let machine = Machine::new();
    let mount = Arc::new(Mount::tmpfs(machine.pool(), "64m"));
    let site = machine.site();
    let key = site.encrypted();
    let (image, id) = (machine.image("image", 1, 1 << 20), "t".parse().unwrap());
    site.create_with(
        "v",
        MIB,
        DiskFormat::Qcow2,
        key,
        VolumeContent::Overlay(named(&id, &image)),
    )
    .unwrap();
    let turning = mount.clone();
    let mut hosts = RegisteredEndpoints::new();
    hosts.register(Arc::new(Turning {
        inner: agent(),
        turn: Box::new(move || turning.read_only()),
    }));
    let mut other = Site::new(machine.config(), hosts);
    other.key = same_key(&site);
    let key = other.encrypted();
    let work: [&dyn Fn() -> Result<(), PoolError>; 7] = [
        &|| other.create("w", MIB, DiskFormat::Qcow2, key).map(drop),
        &|| other.create("w", MIB, DiskFormat::Raw, key).map(drop),
        &|| other.clone("v", key, "w", key).map(drop),
        &|| other.grow("v", 2 * MIB, key).map(drop),
        &|| other.snapshot("v", Create, key).map(drop),
        &|| other.flatten("v", key).map(drop),
        &|| other.delete("v"),
    ];
    for (number, work) in work.into_iter().enumerate() {
        mount.writable();
        let error = work().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{number}: {error:?}");
        assert_eq!(machine.files(), ["v.overlay.luks.qcow2"], "{number}");
        assert!(machine.holds(&site, "v", site.encrypted(), &image), "{number}");
    }
    mount.writable();
    site.flatten("v", site.encrypted()).unwrap();
    drop(other);
}

/// The same key again.
fn same_key(site: &Site<RegisteredEndpoints>) -> strongroom_secret::Passphrase {
    let bytes = site.key.expose_secret().to_vec();
    strongroom_secret::Passphrase::restore(bytes.into(), site.key.origin()).unwrap()
}
