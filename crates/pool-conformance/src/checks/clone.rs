use strongroom_storage_pool::{CloneKey, CloneVolume, ErrorKind, PoolError, Volume};
use strongroom_types::VolumeId;

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::expect::{done, refused, refused_somehow, same};
use crate::failure::{Stop, holds};

/// Clones a volume, with the second key where it is to have one of its own.
pub(crate) fn with_own_key(
    bench: &Bench,
    source: &VolumeId,
    volume: &VolumeId,
    kind: Kind,
) -> Result<Volume, PoolError> {
    let key = CloneKey::Own(bench.key(kind, 1));
    let request = CloneVolume::new(source, bench.key(kind, 0), volume, key);
    bench.driver.clone_volume(&bench.cx(), &request)
}

pub(crate) const OWN_KEY: Check = Check::new(
    "clone-opens-with-its-own-key-only",
    "A clone with a key of its own opens with that key and not with its source's.",
    Needs::CloneOwnKey,
    |bench| {
        let kinds = bench.encrypted();
        if kinds.is_empty() {
            return Err(Stop::NotTested("the pool does not encrypt".to_owned()));
        }
        for kind in kinds {
            let (source, id) = (bench.make_with(kind, &bench.image("cloned")?)?, bench.volume()?);
            done("clone_volume", with_own_key(bench, &source.id, &id, kind))?;
            let advice =
                "encrypt header and sectors anew; a header that is copied brings the volume key along";
            let expected = format!("the clone of {kind} volume opens with its own key only");
            let own = bench.opens(&id, bench.key(kind, 1))?;
            holds(
                own,
                &expected,
                || "its own key does not open it".to_owned(),
                advice,
            )?;
            let source = bench.opens(&id, bench.key(kind, 0))?;
            holds(
                !source,
                &expected,
                || "its source's key opens it".to_owned(),
                advice,
            )?;
        }
        Ok(())
    },
);

pub(crate) const SAME_AS_SOURCE: Check = Check::new(
    "clone-is-what-its-source-is",
    "A clone has the content, the size and the format of its source.",
    Needs::CloneOwnKey,
    |bench| {
        for kind in bench.kinds() {
            let image = bench.image("cloned")?;
            let (source, id) = (bench.make_with(kind, &image)?, bench.volume()?);
            let made = done("clone_volume", with_own_key(bench, &source.id, &id, kind))?;
            same("the size", &source.guest, &made.guest)?;
            same("the format", &source.format, &made.format)?;
            same("the LUKS", &source.encryption, &made.encryption)?;
            holds(
                bench.reads(&id, bench.key(kind, 1), &image)?,
                &format!("the clone of {kind} volume reads as its source"),
                || "it has another content".to_owned(),
                "copy every sector through both ciphers",
            )?;
        }
        Ok(())
    },
);

pub(crate) const AGAIN: Check = Check::new(
    "clone-again-is-the-same-volume",
    "The same clone again is the same volume; another volume under its id is a conflict.",
    Needs::CloneOwnKey,
    |bench| {
        let kind = bench.kind()?;
        let (source, id) = (bench.make(kind)?, bench.volume()?);
        let clone = || with_own_key(bench, &source.id, &id, kind);
        let made = done("clone_volume", clone())?;
        let again = done("clone_volume again", clone())?;
        same("the size", &made.guest, &again.guest)?;
        let other = bench.volume()?;
        let content = strongroom_storage_pool::VolumeContent::Blank;
        done("create", bench.create(&other, kind, bench.larger(1)?, content))?;
        let conflict = with_own_key(bench, &source.id, &other, kind);
        refused(
            "clone_volume onto another volume",
            conflict,
            ErrorKind::AlreadyExists,
        )
        .map(drop)
    },
);

pub(crate) const NOTHING: Check = Check::new(
    "clone-of-nothing-is-not-found",
    "Without a source there is no clone: it is not found.",
    Needs::CloneOwnKey,
    |bench| {
        let kind = bench.kind()?;
        let (source, id) = (bench.volume()?, bench.volume()?);
        let made = with_own_key(bench, &source, &id, kind);
        refused(
            "clone_volume of a volume that was never made",
            made,
            ErrorKind::NotFound,
        )?;
        same("the clone", &None, &bench.get(&id)?)
    },
);

pub(crate) const SOURCE_STAYS: Check = Check::new(
    "clone-does-not-change-its-source",
    "The source of a clone is not changed, and the clone does not need it.",
    Needs::CloneOwnKey,
    |bench| {
        let kind = bench.kind()?;
        let image = bench.image("cloned")?;
        let (source, id) = (bench.make_with(kind, &image)?, bench.volume()?);
        done("clone_volume", with_own_key(bench, &source.id, &id, kind))?;
        let kept = bench.reads(&source.id, bench.key(kind, 0), &image)?;
        let advice = "read the source and write to the clone only";
        holds(
            kept,
            "the source has its content",
            || "it has another".to_owned(),
            advice,
        )?;
        if !bench.put_away(&source.id) {
            return Err(Stop::NotTested("the source is not deleted".to_owned()));
        }
        let alone = bench.reads(&id, bench.key(kind, 1), &image)?;
        let seen = || "it has another when the source is deleted".to_owned();
        holds(alone, "the clone has the content", seen, "a clone stands alone")
    },
);

pub(crate) const SHARED_KEY: Check = Check::new(
    "clone-with-a-shared-key-opens-with-it",
    "A clone with a shared key opens with its source's key.",
    Needs::CloneSharedKey,
    |bench| {
        let kind = bench.kind()?;
        let image = bench.image("cloned")?;
        let (source, id) = (bench.make_with(kind, &image)?, bench.volume()?);
        let request = CloneVolume::new(&source.id, bench.key(kind, 0), &id, CloneKey::Shared);
        done("clone_volume", bench.driver.clone_volume(&bench.cx(), &request))?;
        holds(
            bench.reads(&id, bench.key(kind, 0), &image)?,
            "the clone reads as its source, by the source's key",
            || "it has another content".to_owned(),
            "copy header and sectors as they are",
        )
    },
);

pub(crate) const OTHER_SIDE: Check = Check::new(
    "clone-onto-the-other-side-is-refused",
    "A clone is on the same side of the cipher as its source: a plain clone of an encrypted volume is refused, an encrypted one of a plain volume too, and there is no clone.",
    Needs::CloneOwnKey,
    |bench| {
        let kinds = bench.encrypted();
        if kinds.is_empty() {
            return Err(Stop::NotTested("the pool does not encrypt".to_owned()));
        }
        for kind in kinds.into_iter().flat_map(|kind| [kind, kind.other_side()]) {
            let (source, id) = (bench.make(kind)?, bench.volume()?);
            let key = CloneKey::Own(bench.key(kind.other_side(), 1));
            let request = CloneVolume::new(&source.id, bench.key(kind, 0), &id, key);
            let made = bench.driver.clone_volume(&bench.cx(), &request);
            let operation = format!("clone_volume of {kind} volume as {}", kind.other_side());
            refused_somehow(&operation, made)?;
            same("the clone", &None, &bench.get(&id)?)?;
        }
        Ok(())
    },
);
