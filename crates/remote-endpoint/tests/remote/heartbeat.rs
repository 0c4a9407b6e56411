use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use strongroom_endpoint_selector::Endpoint;
use strongroom_remote_endpoint::AgentServer;
use strongroom_types::{Call, Cancellation};

use crate::lost::create;
use crate::rig::{Certificates, Gated, at, memory, serve, until};
use crate::wire::Wire;

const BEAT: Duration = Duration::from_millis(50);

#[test]
fn an_agent_that_falls_silent_is_given_up_and_its_outcome_comes_by_another_connection() {
    let certificates = Certificates::new();
    let gated = Gated::new();
    let served = serve(&certificates.agent, gated.clone());
    let wire = Wire::to(&served.address);
    let remote = at(&wire.address, &certificates.control).with_heartbeat(BEAT);
    std::thread::scope(|scope| {
        let made = scope.spawn(|| remote.run(&Call::new(), &create(Path::new("/srv/a")).into()));
        gated.await_arrivals(1);
        // Nothing ends the connection: bytes are lost, as where a cable was pulled.
        wire.deaf.store(true, Ordering::SeqCst);
        until("a second connection", || {
            wire.connections.load(Ordering::SeqCst) >= 2
        });
        wire.deaf.store(false, Ordering::SeqCst);
        gated.open();
        made.join().unwrap().unwrap();
    });
    assert_eq!(gated.inner.commands(), ["CreateDisk"]);
}

#[test]
fn an_agent_that_has_nothing_to_say_but_answers_heartbeats_is_kept() {
    let certificates = Certificates::new();
    let memory = memory();
    let served = serve(&certificates.agent, memory.clone());
    let wire = Wire::to(&served.address);
    let remote = at(&wire.address, &certificates.control).with_heartbeat(8 * BEAT);
    remote
        .run(&Call::new(), &create(Path::new("/srv/a")).into())
        .unwrap();
    let before = wire.heard.load(Ordering::SeqCst);
    // Twice as many as a silent one may miss.
    until("six answers to heartbeats", || {
        wire.heard.load(Ordering::SeqCst) >= before + 6
    });
    remote
        .run(&Call::new(), &create(Path::new("/srv/b")).into())
        .unwrap();
    assert_eq!(wire.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_client_that_falls_silent_is_given_up_and_its_work_stopped_if_it_wanted_that() {
    let certificates = Certificates::new();
    let gated = Gated::new();
    let server = AgentServer::bind("127.0.0.1:0", &certificates.agent, gated.clone())
        .unwrap()
        .with_silence(Duration::from_secs(2));
    let (wire, stop) = (Wire::to(&server.address().to_string()), Cancellation::new());
    let remote = at(&wire.address, &certificates.control)
        .with_heartbeat(8 * BEAT)
        .cancelled_when_lost();
    std::thread::scope(|scope| {
        scope.spawn(|| server.serve(&stop));
        let made = scope.spawn(|| remote.run(&Call::new(), &create(Path::new("/srv/a")).into()));
        gated.await_arrivals(1);
        // The gate reports progress all the time, so that the client hears the agent and keeps the connection.
        wire.mute.store(1, Ordering::SeqCst);
        let error = made.join().unwrap().unwrap_err();
        assert!(error.message().contains("stopped at the gate"), "{error}");
        stop.cancel();
    });
    assert_eq!(gated.inner.commands(), [""; 0]);
}
