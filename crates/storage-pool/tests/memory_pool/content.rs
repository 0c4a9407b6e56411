use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::{Declassification, Disk, Protection};
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    DiskLocation, ErrorKind, FlattenVolume, PoolDriver, SourceImage, Template, VolumeContent, VolumeKey,
};
use strongroom_types::{ByteSize, DiskFormat, EncryptionFormat, TemplateId};

use crate::site::{MIB, Site, pool, refused, volume};

const WHY: Declassification<'_> = Declassification { reason: "a test" };

fn image(path: &str) -> SourceImage<'_> {
    SourceImage::new(Path::new(path), DiskFormat::Raw)
}

fn template(name: &str) -> TemplateId {
    name.parse().unwrap()
}

fn held(site: &Site, name: &str) -> PathBuf {
    site.pool.content(&volume(name)).unwrap()
}

#[test]
fn a_named_template_is_kept_and_its_image_never_changes() {
    let (site, t) = (Site::new(pool()), template("t"));
    let from = |path| VolumeContent::Template(Template::named(&t, image(path)));
    for (name, path) in [("v", "/first"), ("w", "/second")] {
        site.create_with(name, DiskFormat::Qcow2, site.encrypted(), from(path))
            .unwrap();
        assert_eq!(held(&site, name), Path::new("/first"));
    }
    assert_eq!(site.pool.templates(), std::slice::from_ref(&t));
    site.pool.forget_template(&site.cx(), &t).unwrap();
    site.pool.forget_template(&site.cx(), &t).unwrap();
    assert_eq!(site.pool.templates(), []);
    assert_eq!(held(&site, "v"), Path::new("/first"), "it does not depend on it");
    let unnamed = VolumeContent::Template(Template::unnamed(image("/third")));
    site.create_with("x", DiskFormat::Raw, VolumeKey::Plain, unnamed)
        .unwrap();
    assert_eq!(site.pool.templates(), []);
}

#[test]
fn an_overlay_keeps_its_template_until_it_is_flattened_or_deleted() {
    let (site, t) = (Site::new(pool()), template("t"));
    let overlay = VolumeContent::Overlay(Template::named(&t, image("/image")));
    for name in ["v", "w"] {
        let made = site.create_with(name, DiskFormat::Qcow2, site.encrypted(), overlay);
        assert_eq!(made.unwrap().overlay_of, Some(t.clone()));
    }
    let (v, host) = (volume("v"), "node-1".parse().unwrap());
    let base = site.pool.attach(&site.cx(), &v, &host).unwrap().base.unwrap();
    assert!(base.path.ends_with("t"), "{base:?}");
    let forget = || site.pool.forget_template(&site.cx(), &t);
    let flatten = || {
        site.pool
            .flatten(&site.cx(), &FlattenVolume::new(&v, site.encrypted()))
    };
    refused(flatten(), ErrorKind::Busy, &["volume v", "node-1"]);
    site.pool.detach(&site.cx(), &v, &host).unwrap();
    refused(forget(), ErrorKind::Busy, &["volume v"]);
    for _ in 0..2 {
        assert_eq!(flatten().unwrap().overlay_of, None);
        assert_eq!(held(&site, "v"), Path::new("/image"));
    }
    refused(forget(), ErrorKind::Busy, &["volume w"]);
    site.pool.delete(&site.cx(), &volume("w")).unwrap();
    forget().unwrap();
}

#[test]
fn an_overlay_of_nothing_or_in_a_format_without_overlays_is_refused() {
    let (site, t) = (Site::new(pool()), template("t"));
    let nameless = VolumeContent::Overlay(Template::unnamed(image("/image")));
    let refusal = site.create_with("v", DiskFormat::Qcow2, site.encrypted(), nameless);
    refused(refusal, ErrorKind::InvalidRequest, &["name"]);
    let overlay = VolumeContent::Overlay(Template::named(&t, image("/image")));
    let refusal = site.create_with("v", DiskFormat::Raw, site.encrypted(), overlay);
    refused(refusal, ErrorKind::Unsupported, &["raw", "overlays"]);
    assert_eq!(site.get("v"), None);
    assert_eq!(site.pool.templates(), []);
}

#[test]
fn a_copy_holds_what_its_source_holds_and_needs_its_key() {
    let site = Site::new(pool());
    let source = site.create("v", MIB, DiskFormat::Raw, site.encrypted()).unwrap();
    site.pool.write(&volume("v"), "written");
    let host = "node-1".parse().unwrap();
    let at = site
        .pool
        .attach(&site.cx(), &volume("v"), &host)
        .unwrap()
        .location;
    let own = Passphrase::generate().unwrap();
    let luks = |key| Protection::Luks {
        format: EncryptionFormat::Luks1,
        key,
    };
    let with = |key| VolumeContent::Copy(Disk::new(&at, source.format, luks(key)));
    let key = VolumeKey::Encrypted(&own);
    let wrong = site.create_with("w", DiskFormat::Qcow2, key, with(&own));
    refused(wrong, ErrorKind::WrongKey, &["volume v"]);
    site.create_with("w", DiskFormat::Qcow2, key, with(&site.key))
        .unwrap();
    assert_eq!(held(&site, "w"), Path::new("written"));
}

#[test]
fn what_was_encrypted_becomes_plain_only_when_that_is_said() {
    let site = Site::new(pool());
    let at = DiskLocation::file("/elsewhere");
    let format = EncryptionFormat::Luks1;
    let (key, plain) = (&site.key, Disk::new(&at, DiskFormat::Raw, Protection::Plain));
    let sealed = Disk::new(&at, DiskFormat::Raw, Protection::Luks { format, key });
    for (key, content) in [
        (VolumeKey::Plain, VolumeContent::Copy(sealed)),
        (site.encrypted(), VolumeContent::Declassified(sealed, WHY)),
        (VolumeKey::Plain, VolumeContent::Declassified(plain, WHY)),
    ] {
        let refusal = site.create_with("v", DiskFormat::Raw, key, content);
        refused(refusal, ErrorKind::InvalidRequest, &[]);
        assert_eq!(site.get("v"), None);
    }
    let said = VolumeContent::Declassified(sealed, WHY);
    site.create_with("v", DiskFormat::Raw, VolumeKey::Plain, said)
        .unwrap();
    assert_eq!(held(&site, "v"), Path::new("/elsewhere"));
    site.create_with("w", DiskFormat::Raw, site.encrypted(), VolumeContent::Copy(plain))
        .unwrap();
}

#[test]
fn content_that_is_larger_than_the_volume_is_refused_and_keeps_no_template() {
    let (site, t) = (Site::new(pool()), template("t"));
    site.pool.add_image("/large", ByteSize::mib(5));
    site.pool.add_image("/fits", ByteSize::mib(4));
    let at = DiskLocation::file("/large");
    let large = Template::named(&t, image("/large"));
    for content in [
        VolumeContent::Template(large),
        VolumeContent::Overlay(large),
        VolumeContent::Copy(Disk::new(&at, DiskFormat::Raw, Protection::Plain)),
    ] {
        let refusal = site.create_with("v", DiskFormat::Qcow2, VolumeKey::Plain, content);
        refused(refusal, ErrorKind::InvalidRequest, &["/large has 5242880 bytes"]);
        assert_eq!((site.get("v"), site.pool.templates()), (None, vec![]));
    }
    let fits = VolumeContent::Template(Template::named(&t, image("/fits")));
    site.create_with("v", DiskFormat::Qcow2, VolumeKey::Plain, fits)
        .unwrap();
}

#[test]
fn whoever_sees_the_storage_sees_plain_content_and_noise_instead_of_encrypted() {
    let site = Site::new(pool());
    let canary = |_: &Path| b"canary".to_vec();
    let stored = |name: &str| site.pool.stored(&volume(name), canary).unwrap();
    let content = VolumeContent::Template(Template::unnamed(image("/image")));
    for (name, format, magic) in [
        ("raw", DiskFormat::Raw, &b"LUKS\xba\xbe\0\x01"[..]),
        ("qcow2", DiskFormat::Qcow2, b"QFI\xfb"),
    ] {
        site.create_with(name, format, site.encrypted(), content).unwrap();
        let bytes = stored(name);
        assert!(bytes.starts_with(magic), "{name}");
        assert!(!bytes.windows(6).any(|w| w == b"canary"), "{name}");
    }
    site.create_with("plain", DiskFormat::Raw, VolumeKey::Plain, content)
        .unwrap();
    assert_eq!(stored("plain"), b"canary");
    assert_eq!(site.pool.stored(&volume("none"), canary), None);
}
