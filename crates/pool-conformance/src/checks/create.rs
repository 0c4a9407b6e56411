use strongroom_storage_pool::{Encryption, ErrorKind, SizeRule, Volume, VolumeContent};
use strongroom_types::{DiskFormat, EncryptionFormat, PayloadOffset};

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::expect::{done, refused, same};
use crate::failure::{Checked, Failure, Stop, holds};

pub(crate) const EXACT_SIZE: Check = Check::new(
    "create-gives-the-exact-size",
    "The guest sees exactly the size that was asked for.",
    Needs::Nothing,
    |bench| {
        for kind in bench.kinds() {
            let made = bench.make(kind)?;
            same(
                &format!("the guest's size of {kind} volume"),
                &bench.size()?,
                &made.guest,
            )?;
        }
        Ok(())
    },
);

pub(crate) const WHAT_WAS_ASKED: Check = Check::new(
    "create-makes-what-was-asked",
    "A volume has the id, the format and the side of the cipher that were asked for, and says with which LUKS a host opens it.",
    Needs::Nothing,
    |bench| {
        for kind in bench.kinds() {
            let id = bench.volume()?;
            let made = bench.create(&id, kind, bench.size()?, VolumeContent::Blank);
            let made = done(&format!("create of {kind} volume"), made)?;
            same("the id", &id, &made.id)?;
            same("the format", &kind.format, &made.format)?;
            same(
                &format!("the LUKS of {kind} volume"),
                &luks(bench, kind.encrypted),
                &made.encryption,
            )?;
            same("its template", &None, &made.overlay_of)?;
        }
        Ok(())
    },
);

pub(crate) fn luks(bench: &Bench, encrypted: bool) -> Option<EncryptionFormat> {
    match bench.capabilities.encryption {
        Encryption::OnHost(luks) if encrypted => Some(luks),
        _ => None,
    }
}

pub(crate) const SIZE_RULE: Check = Check::new(
    "devices-follow-the-size-rule",
    "The storage provides what the size rule of the pool says: what the guest sees and the header, or the next multiple of it.",
    Needs::Nothing,
    size_rule,
);

fn size_rule(bench: &Bench) -> Checked {
    let raw = bench
        .kinds()
        .into_iter()
        .filter(|kind| kind.format == DiskFormat::Raw);
    let raw: Vec<Kind> = raw.collect();
    if raw.is_empty() {
        return Err(Stop::NotTested(
            "the pool makes no raw volumes, whose size is the device's".to_owned(),
        ));
    }
    for kind in raw {
        let made = bench.make(kind)?;
        let header = match luks(bench, kind.encrypted) {
            Some(EncryptionFormat::Luks1) => PayloadOffset::LUKS1_CRYPTSETUP.get(),
            Some(EncryptionFormat::Luks2) => PayloadOffset::LUKS2_CRYPTSETUP.get(),
            None => 0,
        };
        let (least, device) = (made.guest.get(), made.device.get());
        let (follows, rule) = match bench.capabilities.sizes {
            // Each tool that writes LUKS1 leaves another room for the header.
            SizeRule::Exact if header > 0 => (device > least && device <= least + header, "with a header"),
            SizeRule::Exact => (device == least, "exactly"),
            SizeRule::DeviceRoundedTo(unit) => (
                device >= least && device.checked_rem(unit) == Some(0),
                "as a multiple of the unit",
            ),
            _ => return Err(Stop::NotTested("this size rule is not known here".to_owned())),
        };
        holds(
            follows,
            &format!("{kind} volume of {least} bytes has them {rule}"),
            || format!("a device of {device} bytes"),
            "say in Capabilities::sizes what the storage does, and in Volume::device what it did",
        )?;
    }
    Ok(())
}

pub(crate) const GET: Check = Check::new(
    "get-tells-what-is-there",
    "get says what create said, and that there is nothing where nothing is.",
    Needs::Nothing,
    |bench| {
        for kind in bench.kinds() {
            let made = bench.make(kind)?;
            same(
                "the volume",
                &without_room(&made),
                &without_room(&bench.there(&made.id)?),
            )?;
        }
        let nothing = bench.volume()?;
        same("a volume that was never made", &None, &bench.get(&nothing)?)
    },
);

/// What a volume takes may change by itself.
fn without_room(volume: &Volume) -> Volume {
    let mut volume = volume.clone();
    volume.allocated = strongroom_types::ByteSize::default();
    volume
}

pub(crate) const AGAIN: Check = Check::new(
    "create-again-is-the-same-volume",
    "The same request again returns the same volume.",
    Needs::Nothing,
    |bench| {
        for kind in bench.kinds() {
            let made = bench.make(kind)?;
            let again = bench.create(&made.id, kind, made.guest, VolumeContent::Blank);
            let again = done(&format!("create of {kind} volume again"), again)?;
            same("the volume", &without_room(&made), &without_room(&again))?;
        }
        Ok(())
    },
);

/// Asks again with something else, which has to be refused and to change nothing.
fn conflict(bench: &Bench, made: &Volume, kind: Kind, size: u64, what: &str) -> Checked {
    let again = bench.create(&made.id, kind, bench.bytes(size)?, VolumeContent::Blank);
    let operation = format!("create of the same id {what}");
    refused(&operation, again, ErrorKind::AlreadyExists)?;
    unchanged(bench, made)
}

fn unchanged(bench: &Bench, made: &Volume) -> Checked {
    let what = |volume: &Volume| (volume.guest, volume.format, volume.encryption);
    let there = bench.there(&made.id)?;
    same("the volume", &what(made), &what(&there))
}

pub(crate) const OTHER_SIZE: Check = Check::new(
    "create-with-another-size-is-a-conflict",
    "A request for the same id with another size is refused as already existing and changes nothing.",
    Needs::Nothing,
    |bench| {
        for kind in bench.kinds() {
            let made = bench.make(kind)?;
            conflict(bench, &made, kind, bench.larger(1)?.get(), "with a larger size")?;
            conflict(bench, &made, kind, bench.site.size, "with a smaller size")?;
        }
        Ok(())
    },
);

pub(crate) const OTHER_FORMAT: Check = Check::new(
    "create-in-another-format-is-a-conflict",
    "A request for the same id in another format is refused as already existing and changes nothing.",
    Needs::Nothing,
    |bench| {
        let kinds = bench.kinds();
        let mut tested = false;
        for kind in &kinds {
            for other in &kinds {
                if kind.encrypted == other.encrypted && kind.format != other.format {
                    let made = bench.make(*kind)?;
                    conflict(bench, &made, *other, made.guest.get(), &format!("as {other}"))?;
                    tested = true;
                }
            }
        }
        if tested {
            return Ok(());
        }
        Err(Stop::NotTested(
            "the pool makes volumes in one format only".to_owned(),
        ))
    },
);

pub(crate) const OTHER_SIDE: Check = Check::new(
    "create-on-the-other-side-is-a-conflict",
    "A request for the same id on the other side of the cipher is refused as already existing and changes nothing.",
    Needs::Encryption,
    |bench| {
        for kind in bench.encrypted() {
            let plain = Kind {
                encrypted: false,
                ..kind
            };
            for (first, then) in [(kind, plain), (plain, kind)] {
                let made = bench.make(first)?;
                conflict(bench, &made, then, made.guest.get(), &format!("as {then}"))?;
            }
        }
        Ok(())
    },
);

pub(crate) const WRONG_KEY: Check = Check::new(
    "create-again-with-another-key-is-refused",
    "A request for the same id with a key that does not open the volume is refused as a wrong key and changes nothing.",
    Needs::Encryption,
    |bench| {
        for kind in bench.encrypted() {
            let made = bench.make(kind)?;
            let request = strongroom_storage_pool::CreateVolume::new(
                &made.id,
                made.guest,
                kind.format,
                bench.key(kind, 1),
                VolumeContent::Blank,
            );
            let again = bench.driver.create(&bench.cx(), &request);
            refused("create again with another key", again, ErrorKind::WrongKey)?;
            unchanged(bench, &made)?;
        }
        Ok(())
    },
);

pub(crate) const CONTENT_NOT_COMPARED: Check = Check::new(
    "create-again-keeps-the-content",
    "The same request with another content returns the volume that is there, with what it has.",
    Needs::Templates,
    |bench| {
        let kind = bench.kind()?;
        let (first, second) = (bench.image("first")?, bench.image("second")?);
        let made = bench.make_with(kind, &first)?;
        let template = bench.template()?;
        let content = VolumeContent::Template(bench.named_template(&template, &second));
        let again = bench.create(&made.id, kind, made.guest, content);
        done("create again with another content", again)?;
        if bench.reads(&made.id, bench.key(kind, 0), &first)? {
            return Ok(());
        }
        let advice = "return the volume as it is: a guest may have written to it";
        Err(Failure::new(
            "the volume keeps what was written to it",
            "it has something else",
            advice,
        )
        .into())
    },
);
