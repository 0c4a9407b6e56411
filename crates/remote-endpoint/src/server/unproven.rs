use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::channel::lock;

/// How many connections may be on their way to prove themselves.
const PLACES: usize = 64;

/// The connections that did not prove themselves yet, oldest first.
///
/// A newcomer takes the place of the oldest: who proves itself does so within milliseconds, and whoever holds places without doing so
/// keeps nobody out.
#[derive(Debug, Default)]
pub(super) struct Unproven {
    waiting: Mutex<VecDeque<(u64, TcpStream)>>,
    entered: AtomicU64,
}

/// A place among them, until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    among: Arc<Unproven>,
    number: u64,
}

impl Unproven {
    /// Gives a connection a place.
    pub(super) fn enter(self: &Arc<Self>, socket: &TcpStream) -> io::Result<Place> {
        let socket = socket.try_clone()?;
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= PLACES
            && let Some((_, oldest)) = waiting.pop_front()
        {
            tracing::warn!("{PLACES} connections are unproven; the oldest is closed");
            // It may be closed already.
            let _ = oldest.shutdown(Shutdown::Both);
        }
        let number = self.entered.fetch_add(1, Ordering::SeqCst);
        waiting.push_back((number, socket));
        Ok(Place {
            among: self.clone(),
            number,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.among.waiting).retain(|(number, _)| *number != self.number);
    }
}
