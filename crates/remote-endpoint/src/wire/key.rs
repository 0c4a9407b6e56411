use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strongroom_secret::{Origin, Passphrase};
use zeroize::Zeroizing;

use super::Mirror;
use super::lend::lent;

/// A passphrase on its way: borrowed where it is sent, its own where it arrives. It is serialized here and nowhere else.
#[derive(Debug)]
pub(crate) enum Key<'a> {
    Sent(&'a Passphrase),
    Received(Passphrase),
}

impl Key<'_> {
    fn get(&self) -> &Passphrase {
        match self {
            Self::Sent(key) => key,
            Self::Received(key) => key,
        }
    }
}

/// Writes bytes as bytes, not as a sequence of numbers.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let generated = self.get().origin() == Origin::Generated;
        (generated, Bytes(self.get().expose_secret())).serialize(serializer)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Passphrase;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a passphrase")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Passphrase, A::Error> {
        let missing = || A::Error::custom("a passphrase has two parts");
        let generated: bool = parts.next_element()?.ok_or_else(missing)?;
        // Borrowed from the frame, which is wiped: nothing of it is copied aside.
        let bytes: &'de [u8] = parts.next_element()?.ok_or_else(missing)?;
        let origin = if generated {
            Origin::Generated
        } else {
            Origin::Imported
        };
        Passphrase::restore(Zeroizing::new(bytes.to_vec()), origin)
            .map_err(|_| A::Error::custom("these bytes are no passphrase"))
    }
}

impl<'de> Deserialize<'de> for Key<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(2, KeyVisitor).map(Self::Received)
    }
}

impl<'a> Mirror for &'a Passphrase {
    type Wire = Key<'a>;
    fn mirror(self) -> Option<Key<'a>> {
        Some(Key::Sent(self))
    }
}

lent!(Key<'_> => &'h Passphrase, |key| key.get());
