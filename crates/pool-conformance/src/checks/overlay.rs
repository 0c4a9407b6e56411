use strongroom_storage_pool::{ErrorKind, FlattenVolume, PoolError, Template, Volume, VolumeContent};
use strongroom_types::TemplateId;

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::checks::encryption::sealed;
use crate::expect::{done, refused, same};
use crate::failure::{Checked, Stop, holds};
use crate::image::Image;

pub(crate) fn kind(bench: &Bench) -> Checked<Kind> {
    bench.kind_of(&bench.capabilities.overlays)
}

/// A volume that reads from a template with this content.
pub(crate) fn make(bench: &Bench, template: &TemplateId, image: &Image) -> Checked<Volume> {
    let id = bench.volume()?;
    let content = VolumeContent::Overlay(bench.named_template(template, image));
    done(
        "create of an overlay",
        bench.create(&id, kind(bench)?, image.size, content),
    )
}

pub(crate) fn flatten(bench: &Bench, volume: &Volume) -> Checked<Result<Volume, PoolError>> {
    let request = FlattenVolume::new(&volume.id, bench.key(kind(bench)?, 0));
    Ok(bench.driver.flatten(&bench.cx(), &request))
}

pub(crate) const SAYS_SO: Check = Check::new(
    "an-overlay-says-on-what-it-lies",
    "An overlay reads as its template and says on which it depends; its attachment names the image.",
    Needs::Overlays,
    |bench| {
        let (image, template) = (bench.image("template")?, bench.template()?);
        let made = make(bench, &template, &image)?;
        same("the template", &Some(template.clone()), &made.overlay_of)?;
        same(
            "the template that get says",
            &Some(template),
            &bench.there(&made.id)?.overlay_of,
        )?;
        let at = done("attach", bench.driver.attach(&bench.cx(), &made.id, &bench.host))?;
        holds(
            at.base.is_some(),
            "the attachment says which image the disk lies on",
            || "it says none".to_owned(),
            "set Attachment::base: a host opens no disk on an image that it was not told of",
        )?;
        holds(
            bench.reads(&made.id, bench.key(kind(bench)?, 0), &image)?,
            "the overlay reads as its template",
            || "it has another content".to_owned(),
            "lay it on the pool's copy of the image, in the format that this has",
        )
    },
);

pub(crate) const NAMELESS: Check = Check::new(
    "an-overlay-of-a-template-without-a-name-is-refused",
    "The template of an overlay has a name; without one it is refused as an invalid request, and nothing is made.",
    Needs::Overlays,
    |bench| {
        let (image, id) = (bench.image("template")?, bench.volume()?);
        let content = VolumeContent::Overlay(Template::unnamed(image.source()));
        let made = bench.create(&id, kind(bench)?, image.size, content);
        refused(
            "create of an overlay of a nameless template",
            made,
            ErrorKind::InvalidRequest,
        )?;
        same("the volume", &None, &bench.get(&id)?)
    },
);

pub(crate) const WRITES: Check = Check::new(
    "what-is-written-to-an-overlay-is-encrypted",
    "What is written to an encrypted overlay lies in the storage as ciphertext.",
    Needs::Overlays,
    |bench| {
        let (kind, template) = (kind(bench)?, bench.template()?);
        if !kind.encrypted {
            return Err(Stop::NotTested("the pool does not encrypt overlays".to_owned()));
        }
        let (image, secret) = (bench.image("template")?, bench.image("secret")?);
        let made = make(bench, &template, &image)?;
        bench.write(&made.id, bench.key(kind, 0), &secret)?;
        sealed(kind, &made, &secret, &bench.stored(&made.id)?)
    },
);

pub(crate) const IN_USE: Check = Check::new(
    "a-template-in-use-is-kept",
    "What the pool keeps of a template is busy while a volume still reads from it, and goes after that.",
    Needs::Overlays,
    |bench| {
        let (image, template) = (bench.image("template")?, bench.template()?);
        let made = make(bench, &template, &image)?;
        let forget = || bench.driver.forget_template(&bench.cx(), &template);
        refused(
            "forget_template while an overlay lies on it",
            forget(),
            ErrorKind::Busy,
        )?;
        let reads = bench.reads(&made.id, bench.key(kind(bench)?, 0), &image)?;
        let seen = || "it has another content".to_owned();
        holds(
            reads,
            "the overlay reads as its template",
            seen,
            "remove nothing that is in use",
        )?;
        if !bench.put_away(&made.id) {
            return Err(Stop::NotTested("the overlay is not deleted".to_owned()));
        }
        done("forget_template", forget())
    },
);

pub(crate) const FORGET_NOTHING: Check = Check::new(
    "forgetting-an-unknown-template-is-fine",
    "Removing what the pool keeps of a template is fine where it keeps nothing.",
    Needs::Nothing,
    |bench| {
        let template = bench.template()?;
        done(
            "forget_template",
            bench.driver.forget_template(&bench.cx(), &template),
        )
    },
);

pub(crate) const FLATTEN: Check = Check::new(
    "a-flattened-volume-stands-alone",
    "After it was flattened a volume depends on no template and has the content that it had; again is fine.",
    Needs::Overlays,
    |bench| {
        let (image, template) = (bench.image("template")?, bench.template()?);
        let made = make(bench, &template, &image)?;
        for what in ["flatten", "flatten of a volume that stands alone"] {
            let flat = done(what, flatten(bench, &made)?)?;
            same("the template", &None, &flat.overlay_of)?;
        }
        same(
            "the template that get says",
            &None,
            &bench.there(&made.id)?.overlay_of,
        )?;
        done(
            "forget_template",
            bench.driver.forget_template(&bench.cx(), &template),
        )?;
        holds(
            bench.reads(&made.id, bench.key(kind(bench)?, 0), &image)?,
            "the volume reads as its template did",
            || "it has another content".to_owned(),
            "copy all that the volume reads from the template before letting go of it",
        )
    },
);
