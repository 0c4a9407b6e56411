use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use strongroom_secret::{Origin, Passphrase};
use strongroom_storage_pool::{CreateVolume, PoolError, ResizeVolume, VolumeContent, VolumeKey};
use strongroom_types::{Call, Cancellation};

use crate::bench::Bench;
use crate::check::{Check, Needs};
use crate::expect::{done, told};
use crate::failure::{Checked, Failure, Stop};
use crate::faulty_endpoint::Fault;

/// What is in every key of this check and in nothing else.
const CANARY: &str = "canary-in-a-key";

pub(crate) const NOT_TOLD: Check = Check::new(
    "no-key-is-in-any-text",
    "Keys reach neither an error nor what a driver prints of itself.",
    Needs::Encryption,
    not_told,
);

/// A key that is known again wherever it turns up.
pub(crate) fn key(number: u8) -> Checked<Passphrase> {
    let text = format!("{CANARY}-{number}-{CANARY}").into_bytes();
    // As if it had been generated: a host stretches what somebody thought up, for seconds at each open.
    Passphrase::restore(text.into(), Origin::Generated).map_err(|e| Stop::NotTested(e.to_string()))
}

fn not_told(bench: &Bench) -> Checked {
    let (own, other) = (key(1)?, key(2)?);
    let mut texts = Vec::new();
    for kind in bench.encrypted() {
        let (id, size) = (bench.volume()?, bench.size()?);
        let create = |key, size| {
            let content = VolumeContent::Blank;
            let request = CreateVolume::new(&id, size, kind.format, VolumeKey::Encrypted(key), content);
            bench.driver.create(&bench.cx(), &request)
        };
        let grow = |key| {
            let request = ResizeVolume::new(&id, size, VolumeKey::Encrypted(key));
            bench.driver.grow(&bench.cx(), &request)
        };
        // A host that fails has seen the key already.
        bench.plan.strike(0, Fault::FailsBefore, &Cancellation::new());
        texts.extend(text(create(&own, size)));
        bench.plan.calm();
        let over = Call::new();
        over.cancellation().cancel();
        let request = CreateVolume::new(
            &id,
            size,
            kind.format,
            VolumeKey::Encrypted(&own),
            VolumeContent::Blank,
        );
        texts.extend(text(bench.driver.create(&bench.cx_of(&over), &request)));
        let made = done("create", create(&own, size))?;
        texts.push(format!("{made:?}"));
        texts.extend(text(create(&other, size)));
        texts.extend(text(create(&own, bench.larger(1)?)));
        texts.extend(text(grow(&other)));
        let at = done("attach", bench.driver.attach(&bench.cx(), &id, &bench.host))?;
        texts.push(format!("{at:?}"));
        bench.put_away(&id);
        texts.extend(text(grow(&own)));
    }
    texts.push(format!("{:?}", bench.driver));
    let forms = forms();
    match texts
        .iter()
        .find(|text| forms.iter().any(|form| text.contains(form)))
    {
        None => Ok(()),
        Some(text) => {
            let seen = forms
                .iter()
                .fold(text.clone(), |text, form| text.replace(form, "<KEY>"));
            let advice = "never format a key, nor what holds one; name the volume instead";
            Err(Failure::new("no text of the driver has a key in it", seen, advice).into())
        }
    }
}

/// How a key looks in a text: as it is, as a list of bytes, in hexadecimal, in base64.
pub(crate) fn forms() -> [String; 4] {
    let bytes = CANARY.as_bytes();
    let list: Vec<_> = bytes.iter().map(ToString::to_string).collect();
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // Its length is a multiple of three, so that what follows it changes nothing of it.
    let base64 = STANDARD.encode(CANARY);
    [CANARY.to_owned(), list.join(", "), hex, base64]
}

/// All that an error says of itself.
fn text<T>(result: Result<T, PoolError>) -> Option<String> {
    result.err().map(|e| format!("{} {e:?}", told(&e)))
}
