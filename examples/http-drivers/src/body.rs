use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strongroom_secret::{Origin, Passphrase};
use strongroom_storage_pool::VolumeKey;
use zeroize::Zeroizing;

/// Larger than any body with a key, so that the buffer never grows and leaves no copy behind.
const ROOM: usize = 8 << 10;

/// The key as the service takes it: in a body, and nowhere else.
#[derive(Serialize)]
pub(crate) struct Key<'a> {
    passphrase: &'a str,
    /// A passphrase of 256 random bits gains nothing by being stretched.
    stretch: bool,
}

impl<'a> Key<'a> {
    pub(crate) fn of(key: VolumeKey<'a>) -> Option<Self> {
        match key {
            VolumeKey::Plain => None,
            VolumeKey::Encrypted(key) => Self::new(key),
        }
    }

    fn new(key: &'a Passphrase) -> Option<Self> {
        Some(Self {
            passphrase: std::str::from_utf8(key.expose_secret()).ok()?,
            stretch: key.origin() == Origin::Imported,
        })
    }
}

/// The label that says by which means a volume is encrypted, if it is.
pub(crate) const MEANS: &str = "strongroom";
/// The label that says whether a volume has all that it shall hold.
pub(crate) const FINISHED: &str = "finished";

/// What the service keeps for us beside a volume.
pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Serialize)]
pub(crate) struct NewVolume<'a> {
    pub(crate) bytes: u64,
    pub(crate) labels: &'a Labels,
    pub(crate) key: Option<Key<'a>>,
}

#[derive(Serialize)]
pub(crate) struct Owner<'a> {
    pub(crate) owner: &'a str,
}

#[derive(Serialize)]
pub(crate) struct Size {
    pub(crate) bytes: u64,
}

#[derive(Serialize)]
pub(crate) struct Group<'a> {
    pub(crate) volumes: Vec<&'a str>,
}

#[derive(Serialize)]
pub(crate) struct Limits {
    pub(crate) bytes_per_second: Option<u64>,
    pub(crate) operations_per_second: Option<u64>,
}

/// A volume as the service sees it.
#[derive(Debug, Deserialize)]
pub(crate) struct Remote {
    pub(crate) bytes: u64,
    pub(crate) allocated: u64,
    pub(crate) encrypted: bool,
    pub(crate) labels: Labels,
    pub(crate) snapshots: Vec<String>,
}

impl Remote {
    /// By which means the volume is encrypted, if it is.
    pub(crate) fn means(&self) -> Option<&str> {
        self.labels.get(MEANS).map(String::as_str)
    }

    /// Whether the volume has all that it shall hold.
    pub(crate) fn is_finished(&self) -> bool {
        self.labels.get(FINISHED).is_some_and(|f| f == "yes")
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Export {
    pub(crate) path: std::path::PathBuf,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Usage {
    pub(crate) total: u64,
    pub(crate) free: u64,
}

/// What the service says of a failure.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) error: String,
    pub(crate) message: String,
}

/// The body as bytes that are wiped.
pub(crate) fn written(body: &impl Serialize) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
    serde_json::to_writer(&mut *bytes, body).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_body_with_a_key_fits_without_growing() {
        let worst = Zeroizing::new(vec![1; Passphrase::MAX]);
        let key = Passphrase::import(worst).unwrap();
        let labels = Labels::from([("strongroom".to_owned(), "x".repeat(200))]);
        let body = NewVolume {
            bytes: u64::MAX,
            labels: &labels,
            key: Key::of(VolumeKey::Encrypted(&key)),
        };
        assert_eq!(written(&body).unwrap().capacity(), ROOM);
    }
}
