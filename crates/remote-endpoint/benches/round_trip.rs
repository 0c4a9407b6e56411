//! What a command costs on the way to an agent on the loopback interface, and the memory of 500 in flight.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that fails may say so anyhow"
)]

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{Endpoint, EndpointError, HostAnswer, HostCommand, ListDirectory};
use strongroom_remote_endpoint::{AgentServer, Authority, Identity, RemoteEndpoint, Role, Validity};
use strongroom_types::{Call, Cancellation, HostFacts, HostId};

#[derive(Debug)]
struct Gate {
    inner: MemoryEndpoint,
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Endpoint for Gate {
    fn host(&self) -> HostFacts {
        self.inner.host()
    }
    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, open)| !*open).unwrap());
        self.inner.run(call, command)
    }
}

struct Pair {
    gate: Arc<Gate>,
    remote: RemoteEndpoint,
}

fn pair(open: bool) -> Pair {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::create(directory.path()).unwrap();
    let host: HostId = "far".parse().unwrap();
    let identity = |role| Identity::load(&authority.issue(&role, Validity::days(1)).unwrap()).unwrap();
    let gate = Arc::new(Gate {
        inner: MemoryEndpoint::new(HostFacts::new(host.clone())),
        state: Mutex::new((0, open)),
        changed: Condvar::new(),
    });
    let server =
        AgentServer::bind("127.0.0.1:0", &identity(Role::Agent(host.clone())), gate.clone()).unwrap();
    let remote =
        RemoteEndpoint::new(host, server.address().to_string(), &identity(Role::ControlPlane)).unwrap();
    std::thread::spawn(move || server.serve(&Cancellation::new()));
    Pair { gate, remote }
}

fn ask(remote: &RemoteEndpoint) -> HostAnswer {
    remote
        .run(&Call::new(), &ListDirectory::new(Path::new("/srv")).into())
        .unwrap()
}

#[divan::bench]
fn round_trip(bencher: divan::Bencher<'_, '_>) {
    let pair = pair(true);
    ask(&pair.remote);
    bencher.bench_local(|| ask(&pair.remote));
}

fn resident_kib(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn main() {
    let in_flight = pair(false);
    let before = resident_kib("VmRSS:");
    std::thread::scope(|scope| {
        for _ in 0..500 {
            scope.spawn(|| ask(&in_flight.remote));
        }
        let gate = &in_flight.gate;
        let state = gate.state.lock().unwrap();
        let mut state = gate
            .changed
            .wait_while(state, |(arrived, _)| *arrived < 500)
            .unwrap();
        let grown = resident_kib("VmRSS:").saturating_sub(before);
        println!("500 commands in flight, both sides in one process: {grown} KiB");
        state.1 = true;
        drop(state);
        gate.changed.notify_all();
    });
    divan::main();
}
