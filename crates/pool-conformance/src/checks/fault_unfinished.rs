use strongroom_storage_pool::{CreateVolume, VolumeContent, VolumeKey};
use strongroom_types::{DiskFormat, VolumeId};

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::checks::create::luks;
use crate::checks::fault::{LEFT_BEHIND, each};
use crate::expect::{done, same};
use crate::failure::{Checked, Failure, Stop, holds};
use crate::image::Image;

const ADVICE: &str = "let get say that there is nothing, or fail, until all is done: make the volume under another name, or record that it was begun";

pub(crate) const NOT_FOUND: Check = Check::new(
    "a-create-that-failed-is-not-found-until-it-is-whole",
    "After a create that failed, get says that there is nothing, or fails; where it finds the volume, that is whole: of the size that was asked for, opens with its key, has the content of the request.",
    Needs::Nothing,
    |bench| {
        let kind = bench.kind()?;
        rounds(bench, kind, None)?;
        if !bench.capabilities.templates {
            return Ok(());
        }
        let image = bench.image("template")?;
        rounds(bench, kind, Some(&image))
    },
);

/// Gives up a create of a volume, blank or from an image, for each command that can fail.
fn rounds(bench: &Bench, kind: Kind, image: Option<&Image>) -> Checked {
    each(bench, LEFT_BEHIND, |round| {
        let (id, template, key) = (bench.volume()?, bench.template()?, bench.key(kind, 0));
        let content = match image {
            None => VolumeContent::Blank,
            Some(image) => VolumeContent::Template(bench.named_template(&template, image)),
        };
        let request = CreateVolume::new(&id, bench.size()?, kind.format, key, content);
        drop(round.attempt(|cx| bench.driver.create(cx, &request)));
        bench.plan.calm();
        whole_if_found(bench, &id, (kind.format, key), image)?;
        bench.put_away(&id);
        done(
            "forget_template",
            bench.driver.forget_template(&bench.cx(), &template),
        )
    })
}

/// Fails when get finds a volume that lacks something of what was asked for. One that is blank has no content that could be lacking.
pub(crate) fn whole_if_found(
    bench: &Bench,
    id: &VolumeId,
    (format, key): (DiskFormat, VolumeKey<'_>),
    content: Option<&Image>,
) -> Checked {
    let Ok(Some(found)) = bench.driver.get(&bench.cx(), id) else {
        return Ok(());
    };
    let size = content.map_or_else(|| bench.size(), |image| Ok(image.size))?;
    let luks = match key {
        VolumeKey::Plain => None,
        VolumeKey::Encrypted(_) => luks(bench, true),
    };
    let asked = (size, format, luks);
    let whole = same(
        "its size, format and LUKS",
        &asked,
        &(found.guest, found.format, found.encryption),
    )
    .and_then(|()| match content {
        None => bench.opens(id, key).and_then(|opens| {
            let seen = || "its key does not open it".to_owned();
            holds(opens, "its key opens it", seen, ADVICE)
        }),
        Some(image) => bench.reads(id, key, image).and_then(|same| {
            let seen = || "it has another content than its request".to_owned();
            holds(same, "it has its content", seen, ADVICE)
        }),
    });
    whole.map_err(|stop| match stop {
        Stop::NotTested(why) => Stop::NotTested(why),
        Stop::Failed(failure) => Failure::new(
            "what get finds after a failure is whole",
            format!("get finds the volume, and {}", failure.seen),
            ADVICE,
        )
        .into(),
    })
}
