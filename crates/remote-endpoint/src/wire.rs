//! What crosses the network: owned mirrors of commands, answers and errors, which convert both ways.
//!
//! Commands borrow what they name. A mirror is made from a command ([`Mirror`]), and on the other side it is lent ([`Lend`]) for
//! the length of the run.

pub(crate) mod answer;
pub(crate) mod command;
mod disk;
pub(crate) mod error;
pub(crate) mod facts;
mod key;
mod lend;
mod vm;

#[cfg(test)]
mod round_trip;

pub(crate) use self::lend::{Lend, Mirror};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Encodes behind so many zero bytes, into one buffer of the exact size, which is wiped: a buffer that grows leaves copies behind.
pub(crate) fn encode_behind<T: Serialize>(
    room: usize,
    value: &T,
) -> Result<Zeroizing<Vec<u8>>, postcard::Error> {
    let size = postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default())?;
    let mut buffer = Zeroizing::new(vec![0; room.saturating_add(size)]);
    match buffer.get_mut(room..) {
        Some(rest) => postcard::to_slice(value, rest)?,
        None => return Err(postcard::Error::SerializeBufferFull),
    };
    Ok(buffer)
}

/// Decodes all of the bytes; what is left over is an error.
pub(crate) fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}
