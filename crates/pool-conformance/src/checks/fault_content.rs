use strongroom_storage_pool::{CloneKey, CloneVolume, CreateVolume, FlattenVolume, VolumeContent};

use crate::bench::Bench;
use crate::check::{Check, Needs};
use crate::checks::fault::{LEFT_BEHIND, each};
use crate::checks::fault_unfinished::whole_if_found;
use crate::checks::overlay;
use crate::expect::{done, same};
use crate::failure::{Checked, Failure};
use crate::image::Image;

fn reads(
    bench: &Bench,
    id: &strongroom_types::VolumeId,
    key: strongroom_storage_pool::VolumeKey<'_>,
    image: &Image,
) -> Checked {
    if bench.reads(id, key, image)? {
        return Ok(());
    }
    let advice = "give the volume its name when all of its content is there, or begin anew";
    Err(Failure::new("the volume has all of its content", "it has another", advice).into())
}

pub(crate) const CONTENT: Check = Check::new(
    "a-create-with-content-that-failed-is-finished-by-the-same-again",
    "After a create from a template that failed, the same request again gives the volume with all of its content.",
    Needs::Templates,
    |bench| {
        let (kind, image) = (bench.kind()?, bench.image("template")?);
        each(bench, LEFT_BEHIND, |round| {
            let (id, template) = (bench.volume()?, bench.template()?);
            let content = VolumeContent::Template(bench.named_template(&template, &image));
            let request = CreateVolume::new(&id, image.size, kind.format, bench.key(kind, 0), content);
            drop(round.attempt(|cx| bench.driver.create(cx, &request)));
            round.again("create from a template", |cx| bench.driver.create(cx, &request))?;
            reads(bench, &id, bench.key(kind, 0), &image)?;
            bench.put_away(&id);
            done(
                "forget_template",
                bench.driver.forget_template(&bench.cx(), &template),
            )
        })
    },
);

pub(crate) const CLONE: Check = Check::new(
    "a-clone-that-failed-is-finished-by-the-same-again",
    "After a clone that failed, what get finds is whole, and the same request again gives the clone with all of its content; delete leaves nothing.",
    Needs::CloneOwnKey,
    |bench| {
        let (kind, image) = (bench.kind()?, bench.image("cloned")?);
        let source = bench.make_with(kind, &image)?;
        each(bench, LEFT_BEHIND, |round| {
            let id = bench.volume()?;
            let key = CloneKey::Own(bench.key(kind, 1));
            let request = CloneVolume::new(&source.id, bench.key(kind, 0), &id, key);
            drop(round.attempt(|cx| bench.driver.clone_volume(cx, &request)));
            bench.plan.calm();
            whole_if_found(bench, &id, (kind.format, bench.key(kind, 1)), Some(&image))?;
            round.again("clone_volume", |cx| bench.driver.clone_volume(cx, &request))?;
            reads(bench, &id, bench.key(kind, 1), &image)?;
            bench.delete(&id)?;
            same("the clone", &None, &bench.get(&id)?)
        })
    },
);

pub(crate) const FLATTEN: Check = Check::new(
    "a-flattening-that-failed-is-finished-by-the-same-again",
    "After a flattening that failed, the volume has its content, and the same again finishes it.",
    Needs::Overlays,
    |bench| {
        let (image, template) = (bench.image("template")?, bench.template()?);
        let key = bench.key(overlay::kind(bench)?, 0);
        each(bench, LEFT_BEHIND, |round| {
            let made = overlay::make(bench, &template, &image)?;
            let request = FlattenVolume::new(&made.id, key);
            let first = round.attempt(|cx| bench.driver.flatten(cx, &request));
            bench.plan.calm();
            if first.is_err() {
                reads(bench, &made.id, key, &image)?;
            }
            let flat = round.again("flatten", |cx| bench.driver.flatten(cx, &request))?;
            same("the template", &None, &flat.overlay_of)?;
            reads(bench, &made.id, key, &image)?;
            bench.put_away(&made.id);
            Ok(())
        })
    },
);
