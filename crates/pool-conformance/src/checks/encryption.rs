use strongroom_endpoint_selector::RegisteredEndpoints;
use strongroom_storage_pool::{CreateVolume, Encryption, ErrorKind, OpContext, Volume, VolumeContent};
use strongroom_types::{Call, DiskFormat};

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::expect::{refused, refused_somehow};
use crate::failure::{Checked, Failure, Stop, holds};
use crate::image::Image;

pub(crate) const REFUSED: Check = Check::new(
    "encryption-is-refused-where-there-is-none",
    "An encrypted volume is refused where the capabilities say unsupported; it is never made plain.",
    Needs::NoEncryption,
    |bench| {
        for format in bench.capabilities.formats.clone() {
            let kind = Kind {
                format,
                encrypted: true,
            };
            let id = bench.volume()?;
            let made = bench.create(&id, kind, bench.size()?, VolumeContent::Blank);
            refused("create of an encrypted volume", made, ErrorKind::Unsupported)?;
            if let Some(there) = bench.get(&id)? {
                let advice = "refuse before anything is made";
                return Err(Failure::new("there is no volume", format!("{there:?}"), advice).into());
            }
        }
        Ok(())
    },
);

pub(crate) const CIPHERTEXT: Check = Check::new(
    "the-storage-has-ciphertext",
    "Success for an encrypted volume is never reported without ciphertext in the storage.",
    Needs::Encryption,
    ciphertext,
);

fn ciphertext(bench: &Bench) -> Checked {
    let image = bench.image("secret")?;
    // A look that does not see plain content would see no ciphertext either.
    for kind in bench.kinds().into_iter().rev() {
        let made = filled(bench, kind, &image)?;
        let stored = bench.stored(&made.id)?;
        if kind.encrypted {
            sealed(kind, &made, &image, &stored)?;
        } else if !image.is_in(&stored) {
            let why = format!("the look into the storage does not see the content of {kind} volume");
            return Err(Stop::NotTested(why));
        }
        bench.put_away(&made.id);
    }
    Ok(())
}

/// A volume with this content, made from a template where the pool has such.
fn filled(bench: &Bench, kind: Kind, image: &Image) -> Checked<Volume> {
    if !bench.capabilities.templates {
        return bench.make_with(kind, image);
    }
    let (id, template) = (bench.volume()?, bench.template()?);
    let content = VolumeContent::Template(bench.named_template(&template, image));
    crate::expect::done(
        "create from a template",
        bench.create(&id, kind, image.size, content),
    )
}

/// Fails unless these bytes are those of an encrypted volume.
pub(crate) fn sealed(kind: Kind, volume: &Volume, image: &Image, stored: &[u8]) -> Checked {
    let expected = format!("what the storage has of {kind} volume is ciphertext");
    let advice =
        "open what was made with its key before create returns, and make no plain volume when that fails";
    let failed = |seen: &str| Err(Failure::new(expected.as_str(), seen, advice).into());
    if image.is_in(stored) {
        return failed("the content lies there in clear");
    }
    if repeats(stored) {
        return failed("the same sectors again and again, which no cipher that counts sectors leaves");
    }
    // The magic of LUKS: On-Disk Format Specification 1.2.3, 2.1; that of qcow2 and its method, 2 for LUKS: docs/interop/qcow2.rst.
    let header = match (volume.encryption, kind.format) {
        (None, _) => true,
        (Some(_), DiskFormat::Raw) => stored.starts_with(b"LUKS\xba\xbe"),
        (Some(_), _) => stored.starts_with(b"QFI\xfb") && stored.get(32..36) == Some(&[0, 0, 0, 2]),
    };
    holds(
        header,
        &expected,
        || "no LUKS header where one belongs".to_owned(),
        advice,
    )
}

/// Whether a sector that is not all the same byte is there many times.
fn repeats(stored: &[u8]) -> bool {
    let mut seen = std::collections::HashMap::new();
    stored
        .chunks_exact(512)
        .filter(|sector| sector.iter().any(|byte| Some(byte) != sector.first()))
        .any(|sector| {
            let times = seen.entry(sector).or_insert(0_u32);
            *times += 1;
            *times > 64
        })
}

pub(crate) const KEY_OPENS: Check = Check::new(
    "the-key-opens-the-volume",
    "When create returns, an encrypted volume opens with its key.",
    Needs::Encryption,
    |bench| {
        for kind in bench.encrypted() {
            let made = bench.make(kind)?;
            holds(
                bench.opens(&made.id, bench.key(kind, 0))?,
                &format!("{kind} volume opens with its key"),
                || "the key does not open it".to_owned(),
                "make the volume with the key of the request and no other",
            )?;
        }
        Ok(())
    },
);

pub(crate) const OTHER_KEY: Check = Check::new(
    "another-key-does-not-open-the-volume",
    "A volume of this pool never opens with the key of another.",
    Needs::Encryption,
    |bench| {
        for kind in bench.encrypted() {
            let made = bench.make(kind)?;
            holds(
                !bench.opens(&made.id, bench.key(kind, 1))?,
                &format!("{kind} volume is refused to another key"),
                || "the other key opens it".to_owned(),
                "use the key of the request for this volume only, and check it whenever the volume is attached",
            )?;
        }
        Ok(())
    },
);

pub(crate) const NO_HOST: Check = Check::new(
    "without-a-host-nothing-is-made-plain",
    "Where no host is there to encrypt a volume, create fails and leaves no finished volume; it is never made plain.",
    Needs::Encryption,
    |bench| {
        if bench.capabilities.encryption == Encryption::InStorage {
            return Err(Stop::NotTested("the storage encrypts, not a host".to_owned()));
        }
        let (call, nobody) = (Call::new(), RegisteredEndpoints::new());
        for kind in bench.encrypted() {
            let (id, size, key) = (bench.volume()?, bench.size()?, bench.key(kind, 0));
            let request = CreateVolume::new(&id, size, kind.format, key, VolumeContent::Blank);
            let made = bench.driver.create(&OpContext::new(&call, &nobody), &request);
            refused_somehow(&format!("create of {kind} volume without a host"), made)?;
            // A driver may also say that it is not finished.
            if let Ok(Some(there)) = bench.driver.get(&bench.cx(), &id) {
                let advice = "fail as the selector does; encryption has no second way";
                return Err(Failure::new("there is no volume", format!("{there:?}"), advice).into());
            }
        }
        Ok(())
    },
);
