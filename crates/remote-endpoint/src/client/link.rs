//! One connection to an agent, and the thread that reads it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use zeroize::Zeroizing;

use super::peer::Desk;
use crate::channel::{Channel, Reader, lock};
use crate::frame::{ANSWER_LIMIT, Frame, Kind, Outcome, frame};
use crate::wire::{self, facts::WireFacts};

/// How many of those in a row may stay without an answer.
const MISSED: u32 = 2;

/// What a caller waits for.
pub(super) enum Event {
    Progress(f64),
    Outcome(Box<Outcome>),
    /// The connection with this number was lost.
    Lost(u64),
}

/// A connection that was greeted.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: u64,
    pub(super) boot: [u8; 16],
    channel: Arc<Channel>,
    alive: AtomicBool,
}

impl Link {
    pub(super) fn new(number: u64, boot: [u8; 16], channel: Arc<Channel>) -> Self {
        Self {
            number,
            boot,
            channel,
            alive: AtomicBool::new(true),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    pub(super) fn send(&self, frame: &Zeroizing<Vec<u8>>) -> io::Result<()> {
        self.channel.send(frame)
    }

    pub(super) fn close(&self) {
        self.alive.store(false, Ordering::SeqCst);
        self.channel.close();
    }

    pub(super) fn cancel(&self, number: u64) {
        self.tell(Kind::Cancel, &number);
    }

    pub(super) fn ask_facts(&self) {
        self.tell(Kind::AskFacts, &());
    }

    fn tell<T: serde::Serialize>(&self, kind: Kind, content: &T) {
        let sent = frame(kind, content).map(|frame| self.channel.send(&frame));
        if !matches!(sent, Ok(Ok(()))) {
            self.close();
        }
    }

    /// Reads until the connection ends, and tells everybody who waits.
    pub(super) fn read(&self, desk: &Desk, mut reader: Reader, heartbeat: Duration) {
        let mut missed = 0;
        while self.is_alive() {
            match reader.next(ANSWER_LIMIT, heartbeat) {
                Ok(Some(frame)) => {
                    missed = 0;
                    if take(desk, &frame).is_none() {
                        tracing::warn!("an agent sent what cannot be read");
                        break;
                    }
                }
                Ok(None) if missed < MISSED => {
                    missed += 1;
                    self.tell(Kind::Ping, &());
                }
                Ok(None) => break,
                Err(e) => {
                    tracing::debug!(error = %e, "the connection to an agent ended");
                    break;
                }
            }
        }
        self.close();
        for waiting in lock(&desk.state).waiting.values() {
            // Who does not wait any more need not know.
            let _ = waiting.send(Event::Lost(self.number));
        }
    }
}

fn take(desk: &Desk, frame: &Frame) -> Option<()> {
    let (number, event) = match frame.kind {
        Kind::Answer => {
            let (number, outcome): (u64, Outcome) = wire::decode(&frame.content).ok()?;
            (number, Event::Outcome(Box::new(outcome)))
        }
        Kind::Progress => {
            let (number, fraction): (u64, f64) = wire::decode(&frame.content).ok()?;
            (number, Event::Progress(fraction))
        }
        Kind::Facts => {
            let facts: WireFacts = wire::decode(&frame.content).ok()?;
            desk.learn(facts.into());
            return Some(());
        }
        Kind::Pong => return Some(()),
        _ => return None,
    };
    if let Some(waiting) = lock(&desk.state).waiting.get(&number) {
        // Who does not wait any more need not know.
        let _ = waiting.send(event);
    }
    Some(())
}
