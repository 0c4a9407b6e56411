//! File systems whose server does not answer: how that is found out, and that nobody waits for them again and again.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fs::statfs;
use strongroom_endpoint_selector::{EndpointError, ErrorKind};
use strongroom_types::{Call, Interrupted};

use crate::failure;
use crate::mount::Mount;

/// How long a server may take for one question.
const PATIENCE: Duration = Duration::from_secs(15);

/// A caller that waits for less does not find out that a server is silent.
const HASTE: Duration = Duration::from_secs(1);

/// How often somebody looks whether the caller asked to stop.
const TICK: Duration = Duration::from_millis(50);

/// How often somebody looks whether those who waited for a server have ended.
const PAUSE: Duration = Duration::from_millis(100);

/// The file systems that are asked, by the numbers of their devices.
#[derive(Debug, Clone, Default)]
pub(crate) struct Silence(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    servers: Mutex<BTreeMap<String, Server>>,
    answered: Condvar,
}

/// One server. Whatever the number of those who want to know, one thread asks it: in the kernel it waits as long as the server is
/// silent, and nothing but the end of the process gets it out. A child could be killed, but none can be started while this process
/// has a file open for writing there whose data the server has not taken.
#[derive(Debug, Default)]
struct Server {
    /// How many questions were answered.
    answers: u64,
    /// How many answers somebody waits for.
    wanted: u64,
    /// Whether there is a thread that asks.
    asked: bool,
    silent: Option<Silent>,
}

#[derive(Debug)]
struct Silent {
    since: Instant,
    /// Threads that wait in the kernel for the server.
    waiting: Vec<JoinHandle<()>>,
}

impl Silence {
    /// Fails at once for a file system that is known to be silent, and after a while for one that turns out to be.
    pub(crate) fn check(
        &self,
        operation: &'static str,
        call: &Call,
        mount: &Mount,
    ) -> Result<(), EndpointError> {
        let since = self
            .0
            .lock()
            .get(&mount.device)
            .and_then(|server| Some(server.silent.as_ref()?.since));
        if let Some(since) = since {
            return Err(refused(operation, mount, since.elapsed()));
        }
        let begun = Instant::now();
        let limit = call.remaining().map_or(PATIENCE, |left| left.min(PATIENCE));
        while !self.answers(operation, mount, TICK.min(limit))? {
            if call.cancellation().is_cancelled() {
                return Err(failure::interrupted(operation, Interrupted::Cancelled));
            }
            if begun.elapsed() < limit {
                continue;
            }
            return Err(if limit < HASTE {
                failure::interrupted(operation, Interrupted::Deadline)
            } else {
                self.mark(operation, mount, begun, None)
            });
        }
        Ok(())
    }

    /// Whether the server answers within this time.
    pub(crate) fn answers(
        &self,
        operation: &'static str,
        mount: &Mount,
        limit: Duration,
    ) -> Result<bool, EndpointError> {
        let mut servers = self.0.lock();
        let server = servers.entry(mount.device.clone()).or_default();
        let wanted = server.answers + 1;
        server.wanted = server.wanted.max(wanted);
        if !server.asked {
            Shared::ask(&self.0, server, mount).map_err(|e| {
                let message = format!(
                    "no thread could be started to ask for {}",
                    mount.facts.point.display()
                );
                EndpointError::new(ErrorKind::Io, operation, message).with_source(e)
            })?;
        }
        let silent = |servers: &mut BTreeMap<String, Server>| {
            servers
                .get(&mount.device)
                .is_some_and(|server| server.answers < wanted)
        };
        let (_servers, waited) = self
            .0
            .answered
            .wait_timeout_while(servers, limit.min(PATIENCE), silent)
            .unwrap_or_else(PoisonError::into_inner);
        Ok(!waited.timed_out())
    }

    /// Keeps everybody away from a file system until it answers and what waits for it has ended. Answers with the error for whoever
    /// found out.
    pub(crate) fn mark(
        &self,
        operation: &'static str,
        mount: &Mount,
        since: Instant,
        waiting: Option<JoinHandle<()>>,
    ) -> EndpointError {
        let mut servers = self.0.lock();
        let server = servers.entry(mount.device.clone()).or_default();
        let silent = server.silent.get_or_insert_with(|| {
            let (point, kind) = (&mount.facts.point, &mount.facts.kind);
            tracing::warn!(?point, kind, "a file system does not answer");
            Silent {
                since,
                waiting: Vec::new(),
            }
        });
        silent.waiting.extend(waiting);
        // The thread that asks it gave up on nothing; it may just have been answered, and ended.
        if !server.asked && Shared::ask(&self.0, server, mount).is_err() {
            // Nobody would find out that it answers again, so the next command shall ask for itself.
            server.silent = None;
        }
        refused(operation, mount, since.elapsed())
    }
}

fn refused(operation: &'static str, mount: &Mount, silence: Duration) -> EndpointError {
    let message = format!(
        "the file system at {} ({}, {}) has not answered for {} seconds; look after its server, it is used again when it answers",
        mount.facts.point.display(),
        mount.facts.kind,
        mount.facts.source,
        silence.as_secs()
    );
    EndpointError::new(ErrorKind::Io, operation, message)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread that asks.
    fn ask(this: &Arc<Self>, server: &mut Server, mount: &Mount) -> io::Result<()> {
        let (shared, mount) = (Arc::clone(this), mount.clone());
        thread::Builder::new()
            .name("strongroom-ask".to_owned())
            .spawn(move || while shared.goes_on_asking(&mount) {})?;
        server.asked = true;
        Ok(())
    }

    /// Asks once more if somebody wants to know. Otherwise nobody asks any more.
    fn goes_on_asking(&self, mount: &Mount) -> bool {
        // The size of a file system is what no client answers from memory. What the answer is does not matter.
        let _ = statfs(&mount.facts.point);
        let mut servers = self.lock();
        let Some(server) = servers.get_mut(&mount.device) else {
            return false;
        };
        server.answers += 1;
        self.answered.notify_all();
        let left = |silent: &Silent| !silent.waiting.iter().all(JoinHandle::is_finished);
        if server.silent.as_ref().is_some_and(left) {
            drop(servers);
            thread::sleep(PAUSE);
            return true;
        }
        if server.silent.take().is_some() {
            tracing::info!(point = ?mount.facts.point, "a file system answers again");
        }
        let more = server.answers < server.wanted;
        server.asked = more;
        more
    }
}
