use strongroom_endpoint_selector::{Declassification, Disk, Protection};
use strongroom_storage_pool::{
    Attachment, CreateVolume, ErrorKind, PoolError, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{GuestSize, VolumeId};

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::expect::{done, refused, same};
use crate::failure::{Checked, Stop, holds};

pub(crate) const TEMPLATE: Check = Check::new(
    "a-volume-has-the-content-of-its-template",
    "A volume that is made from a template has its content and does not depend on it.",
    Needs::Templates,
    |bench| {
        let image = bench.image("template")?;
        for kind in bench.kinds() {
            let (id, template) = (bench.volume()?, bench.template()?);
            let content = VolumeContent::Template(bench.named_template(&template, &image));
            let made = bench.create(&id, kind, image.size, content);
            let made = done(&format!("create of {kind} volume from a template"), made)?;
            same("the template it depends on", &None, &made.overlay_of)?;
            done(
                "forget_template",
                bench.driver.forget_template(&bench.cx(), &template),
            )?;
            holds(
                bench.reads(&id, bench.key(kind, 0), &image)?,
                &format!("{kind} volume reads as its template"),
                || "it has another content".to_owned(),
                "copy the image through the cipher of the volume",
            )?;
        }
        Ok(())
    },
);

pub(crate) const TOO_LARGE: Check = Check::new(
    "a-template-that-does-not-fit-is-refused",
    "A template is at most as large as the volume: a larger one is refused as an invalid request, and nothing is made.",
    Needs::Templates,
    |bench| {
        let image = bench.image_of("large", bench.larger(1)?)?;
        let (kind, id, template) = (bench.kind()?, bench.volume()?, bench.template()?);
        let content = VolumeContent::Template(bench.named_template(&template, &image));
        let made = bench.create(&id, kind, bench.size()?, content);
        refused(
            "create from a template that is larger",
            made,
            ErrorKind::InvalidRequest,
        )?;
        same("the volume", &None, &bench.get(&id)?)
    },
);

/// Makes a volume from an attached one.
fn copy(
    bench: &Bench,
    (source, source_key): (&Attachment, VolumeKey<'_>),
    id: &VolumeId,
    size: GuestSize,
    into: (Kind, VolumeKey<'_>),
    declassify: bool,
) -> Result<Volume, PoolError> {
    let protection = match (source_key, source.encryption) {
        (VolumeKey::Encrypted(key), Some(format)) => Protection::Luks { format, key },
        _ => Protection::Plain,
    };
    let base = source.base.as_ref().map(|base| base.source());
    let disk = Disk::new(&source.location, source.format, protection).on(base);
    let content = if declassify {
        let reason = "the conformance suite looks whether this works";
        VolumeContent::Declassified(disk, Declassification { reason })
    } else {
        VolumeContent::Copy(disk)
    };
    let request = CreateVolume::new(id, size, into.0.format, into.1, content);
    bench.driver.create(&bench.cx(), &request)
}

/// What to copy: a volume with this content, and where it is.
fn source(bench: &Bench, kind: Kind, image: &crate::image::Image) -> Checked<(Volume, Attachment)> {
    let made = bench.make_with(kind, image)?;
    let at = done("attach", bench.driver.attach(&bench.cx(), &made.id, &bench.host))?;
    Ok((made, at))
}

pub(crate) const COPY: Check = Check::new(
    "a-copy-has-the-content-through-its-own-cipher",
    "A copy of another disk has its content and a key of its own.",
    Needs::Copies,
    |bench| {
        let (image, kind) = (bench.image("copied")?, bench.kind()?);
        let (from, at) = source(bench, kind, &image)?;
        let id = bench.volume()?;
        let keys = (bench.key(kind, 0), bench.key(kind, 1));
        let made = copy(bench, (&at, keys.0), &id, from.guest, (kind, keys.1), false);
        done("create of a copy", made)?;
        holds(
            bench.reads(&id, keys.1, &image)?,
            "the copy reads as its source, by its own key",
            || "it has another content".to_owned(),
            "read through the source's cipher and write through the volume's",
        )
    },
);

/// An encrypted kind whose host side shows that it is encrypted.
fn sealed_kind(bench: &Bench) -> Checked<Kind> {
    let kind = bench.kind()?;
    let on_host = matches!(
        bench.capabilities.encryption,
        strongroom_storage_pool::Encryption::OnHost(_)
    );
    if kind.encrypted && on_host {
        return Ok(kind);
    }
    let why = "no host sees which volumes of this pool are encrypted";
    Err(Stop::NotTested(why.to_owned()))
}

pub(crate) const INTO_PLAIN: Check = Check::new(
    "encrypted-content-does-not-become-plain-in-silence",
    "From an encrypted disk into a plain volume a copy is refused as an invalid request, and nothing is made.",
    Needs::Copies,
    |bench| {
        let (image, kind) = (bench.image("copied")?, sealed_kind(bench)?);
        let (from, at) = source(bench, kind, &image)?;
        let id = bench.volume()?;
        let plain = (kind, VolumeKey::Plain);
        let made = copy(bench, (&at, bench.key(kind, 0)), &id, from.guest, plain, false);
        refused(
            "a plain copy of an encrypted disk",
            made,
            ErrorKind::InvalidRequest,
        )?;
        same("the volume", &None, &bench.get(&id)?)
    },
);

pub(crate) const DECLASSIFIED: Check = Check::new(
    "declassifying-is-said-and-meant",
    "The content of an encrypted disk is had in clear by declassifying it, and only into a plain volume.",
    Needs::Copies,
    |bench| {
        let (image, kind) = (bench.image("copied")?, sealed_kind(bench)?);
        let (from, at) = source(bench, kind, &image)?;
        let (id, other) = (bench.volume()?, bench.volume()?);
        let key = bench.key(kind, 0);
        let sealed = copy(bench, (&at, key), &other, from.guest, (kind, key), true);
        refused(
            "declassifying into an encrypted volume",
            sealed,
            ErrorKind::InvalidRequest,
        )?;
        let made = copy(bench, (&at, key), &id, from.guest, (kind, VolumeKey::Plain), true);
        done("create of a declassified volume", made)?;
        holds(
            bench.reads(&id, VolumeKey::Plain, &image)?,
            "the volume reads as the disk did through its cipher",
            || "it has another content".to_owned(),
            "read through the cipher and write in clear",
        )
    },
);
