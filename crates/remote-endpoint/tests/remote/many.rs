use std::path::Path;

use strongroom_endpoint_selector::{Endpoint, ErrorKind, ListDirectory};
use strongroom_types::Call;

use crate::rig::{Certificates, Gated, remote, serve};

#[test]
fn five_hundred_commands_are_in_flight_on_one_connection_and_all_are_answered() {
    let certificates = Certificates::new();
    let gated = Gated::new();
    let served = serve(&certificates.agent, gated.clone());
    let remote = remote(&served, &certificates.control);
    std::thread::scope(|scope| {
        let mut callers = Vec::new();
        for _ in 0..500 {
            let ask = || remote.run(&Call::new(), &ListDirectory::new(Path::new("/srv")).into());
            callers.push(scope.spawn(ask));
        }
        gated.await_arrivals(500);
        gated.open();
        for caller in callers {
            caller.join().unwrap().unwrap();
        }
    });
    assert_eq!(gated.inner.commands().len(), 500);
}

#[test]
fn more_than_an_agent_takes_is_busy_and_not_begun() {
    let certificates = Certificates::new();
    let gated = Gated::new();
    let served = serve(&certificates.agent, gated.clone());
    let remote = remote(&served, &certificates.control);
    std::thread::scope(|scope| {
        let ask = || remote.run(&Call::new(), &ListDirectory::new(Path::new("/srv")).into());
        let callers: Vec<_> = (0..512).map(|_| scope.spawn(ask)).collect();
        gated.await_arrivals(512);
        assert_eq!(ask().unwrap_err().kind(), ErrorKind::Busy);
        gated.open();
        for caller in callers {
            caller.join().unwrap().unwrap();
        }
        ask().unwrap();
    });
}
