//! Frames: a length of four bytes (big-endian), a kind of one byte, and what the kind says.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::wire;

/// The version of the protocol. Another one is refused.
pub(crate) const VERSION: u16 = 1;
/// The largest frame that an agent takes, in bytes: a machine with two dozen disks and the longest paths fits.
pub(crate) const REQUEST_LIMIT: usize = 128 << 10;
/// The largest frame that a control plane takes, in bytes: a directory with a million names of 60 bytes fits.
pub(crate) const ANSWER_LIMIT: usize = 64 << 20;
/// What is in front of the content.
pub(crate) const HEADER: usize = 5;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    // To the agent.
    Hello = 1,
    Request = 2,
    Cancel = 3,
    Ping = 4,
    AskFacts = 5,
    // From the agent.
    Welcome = 129,
    Refused = 130,
    Progress = 131,
    Answer = 132,
    Pong = 133,
    Facts = 134,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Hello,
        Self::Request,
        Self::Cancel,
        Self::Ping,
        Self::AskFacts,
        Self::Welcome,
        Self::Refused,
        Self::Progress,
        Self::Answer,
        Self::Pong,
        Self::Facts,
    ];

    pub(crate) fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A frame as it arrived. It may hold a key, and is wiped.
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) content: Zeroizing<Vec<u8>>,
}

/// The first frame of a client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    /// Random, and as old as the client: by it an agent knows it again.
    pub(crate) client: [u8; 16],
    /// The highest number of a request that the client may have sent.
    pub(crate) last_sent: u64,
    /// For whom it works. There is one such client at a time: this one comes after those before it.
    pub(crate) installation: Option<String>,
}

/// The agent's answer to it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    /// Random, and as old as the agent's process.
    pub(crate) boot: [u8; 16],
    pub(crate) facts: wire::facts::WireFacts,
}

/// What stands in front of a command.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequestHead<'a> {
    /// With the client's id, what makes the request one and the same when it is sent again.
    pub(crate) number: u64,
    /// The client waits for no request below this one.
    pub(crate) settled: u64,
    /// How many milliseconds the caller still waits.
    pub(crate) remaining: Option<u64>,
    /// Whether the work is stopped when the connection is lost.
    pub(crate) cancel_when_lost: bool,
    /// The command's name.
    pub(crate) name: &'a str,
}

/// The outcome of a request.
pub(crate) type Outcome = Result<wire::answer::WireAnswer, wire::error::WireError>;

/// A frame to be sent, wiped when it is dropped.
pub(crate) fn frame<T: Serialize>(kind: Kind, content: &T) -> Result<Zeroizing<Vec<u8>>, postcard::Error> {
    let mut frame = wire::encode_behind(HEADER, content)?;
    let length = u32::try_from(frame.len() - 4).map_err(|_| postcard::Error::SerializeBufferFull)?;
    if let Some((header, _)) = frame.split_at_mut_checked(HEADER) {
        header[..4].copy_from_slice(&length.to_be_bytes());
        header[4] = kind as u8;
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use zeroize::ZeroizeOnDrop;

    use super::*;

    /// That the compiler takes it is the test.
    fn is_wiped<T: ZeroizeOnDrop>(_: &T) {}

    #[test]
    fn frames_on_both_sides_are_wiped_and_none_grew_and_left_a_copy_behind() {
        for length in [0, 1, 100, 70_000] {
            let sent = frame(Kind::Request, &"k".repeat(length)).unwrap();
            is_wiped(&sent);
            assert_eq!(sent.capacity(), sent.len());
            let received = Frame {
                kind: Kind::Request,
                content: sent,
            };
            is_wiped(&received.content);
        }
    }
}
