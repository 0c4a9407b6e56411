use std::fmt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{Endpoint, EndpointError, ErrorKind, HostAnswer, HostCommand};
use strongroom_remote_endpoint::{AgentServer, Authority, Identity, RemoteEndpoint, Role, Validity};
use strongroom_types::{Call, Cancellation, HostFacts, HostId};

pub(crate) fn host() -> HostId {
    "far".parse().unwrap()
}

/// Certificates of an authority that was made for one test.
pub(crate) struct Certificates {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) agent: Identity,
    pub(crate) control: Identity,
}

pub(crate) fn issued(directory: &Path, role: &Role) -> Identity {
    let issued = Authority::at(directory).issue(role, Validity::days(1)).unwrap();
    Identity::load(&issued).unwrap()
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Authority::create(directory.path()).unwrap();
        Self {
            agent: issued(directory.path(), &Role::Agent(host())),
            control: issued(directory.path(), &Role::ControlPlane),
            directory,
        }
    }
}

/// An agent that serves until this is dropped.
pub(crate) struct Served {
    pub(crate) address: String,
    stop: Cancellation,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn serve(identity: &Identity, endpoint: Arc<dyn Endpoint>) -> Served {
    serve_at("127.0.0.1:0", identity, endpoint)
}

pub(crate) fn serve_at(address: &str, identity: &Identity, endpoint: Arc<dyn Endpoint>) -> Served {
    let server = AgentServer::bind(address, identity, endpoint).unwrap();
    let stop = Cancellation::new();
    let (address, flag) = (server.address().to_string(), stop.clone());
    let thread = Some(std::thread::spawn(move || server.serve(&flag)));
    Served {
        address,
        stop,
        thread,
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

pub(crate) fn remote(served: &Served, identity: &Identity) -> RemoteEndpoint {
    at(&served.address, identity)
}

pub(crate) fn at(address: &str, identity: &Identity) -> RemoteEndpoint {
    RemoteEndpoint::new(host(), address, identity)
        .unwrap()
        .with_patience(Duration::from_secs(5))
}

pub(crate) fn memory() -> Arc<MemoryEndpoint> {
    Arc::new(MemoryEndpoint::new(HostFacts::new(host())))
}

/// An endpoint whose commands wait at a gate before they are done, and say so.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) inner: Arc<MemoryEndpoint>,
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gated {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: memory(),
            state: Mutex::new((0, false)),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    /// Waits until so many commands arrived.
    pub(crate) fn await_arrivals(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(state, Duration::from_secs(20), |(arrived, _)| *arrived < count)
            .unwrap();
        assert!(!waited.1.timed_out(), "{count} commands did not arrive");
    }
}

impl Endpoint for Gated {
    fn host(&self) -> HostFacts {
        self.inner.host()
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        while !state.1 {
            if let Err(e) = call.check() {
                let kind = match e {
                    strongroom_types::Interrupted::Cancelled => ErrorKind::Cancelled,
                    strongroom_types::Interrupted::Deadline => ErrorKind::Deadline,
                };
                return Err(EndpointError::new(
                    kind,
                    command.name(),
                    "it was stopped at the gate",
                ));
            }
            call.report(0.5);
            state = self
                .changed
                .wait_timeout(state, Duration::from_millis(5))
                .unwrap()
                .0;
        }
        drop(state);
        self.inner.run(call, command)
    }
}

/// Waits for something that another thread brings about.
pub(crate) fn until(what: impl fmt::Display, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it never came to this: {what}"
        );
        std::thread::yield_now();
    }
}
