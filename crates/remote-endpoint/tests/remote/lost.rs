use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{CreateDisk, DiskContent, Endpoint, ErrorKind, HostAnswer, Protection};
use strongroom_types::{Call, Cancellation, DiskFormat, GuestSize};

use crate::rig::{Certificates, Gated, at, memory, remote, serve, serve_at, until};
use crate::wire::Wire;

pub(crate) fn create(path: &Path) -> CreateDisk<'_> {
    let size = GuestSize::new(1 << 20).unwrap();
    CreateDisk::new(path, DiskFormat::Raw, size, Protection::Plain, DiskContent::Blank)
}

#[test]
fn a_disk_whose_answer_is_lost_is_made_once_and_the_answer_comes_by_the_next_connection() {
    let certificates = Certificates::new();
    let memory = memory();
    let served = serve(&certificates.agent, memory.clone());
    let wire = Wire::to(&served.address);
    let remote = at(&wire.address, &certificates.control);
    assert_eq!(remote.host().state, strongroom_types::HostState::Up);
    std::thread::scope(|scope| {
        wire.deaf.store(true, Ordering::SeqCst);
        let path = Path::new("/srv/a");
        let made = scope.spawn(|| remote.run(&Call::new(), &create(path).into()));
        until("the disk is made", || memory.paths() == [path]);
        wire.deaf.store(false, Ordering::SeqCst);
        wire.cut();
        let answer = made.join().unwrap().unwrap();
        assert!(matches!(answer, HostAnswer::Disk(facts) if facts.location.path() == path));
    });
    assert_eq!(memory.commands(), ["CreateDisk"]);
    assert_eq!(wire.connections.load(Ordering::SeqCst), 2);
}

#[test]
fn work_goes_on_while_its_connection_is_lost() {
    let certificates = Certificates::new();
    let gated = Gated::new();
    let served = serve(&certificates.agent, gated.clone());
    let wire = Wire::to(&served.address);
    let remote = at(&wire.address, &certificates.control);
    std::thread::scope(|scope| {
        let made = scope.spawn(|| remote.run(&Call::new(), &create(Path::new("/srv/a")).into()));
        gated.await_arrivals(1);
        wire.cut();
        until("a second connection", || {
            wire.connections.load(Ordering::SeqCst) == 2
        });
        gated.open();
        made.join().unwrap().unwrap();
    });
    assert_eq!(gated.inner.commands(), ["CreateDisk"]);
}

#[test]
fn work_is_stopped_with_its_connection_when_the_client_wants_that() {
    let certificates = Certificates::new();
    let gated = Gated::new();
    let served = serve(&certificates.agent, gated.clone());
    let wire = Wire::to(&served.address);
    let remote = at(&wire.address, &certificates.control).cancelled_when_lost();
    std::thread::scope(|scope| {
        let made = scope.spawn(|| remote.run(&Call::new(), &create(Path::new("/srv/a")).into()));
        gated.await_arrivals(1);
        wire.cut();
        assert_eq!(made.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    });
    assert_eq!(gated.inner.commands(), [""; 0]);
}

#[test]
fn after_a_restart_of_the_agent_the_outcome_is_unknown_and_nothing_is_done_again() {
    let certificates = Certificates::new();
    let first = Gated::new();
    let served = serve(&certificates.agent, first.clone());
    let wire = Wire::to(&served.address);
    let address = served.address.clone();
    let remote = at(&wire.address, &certificates.control);
    let second = memory();
    std::thread::scope(|scope| {
        let made = scope.spawn(|| remote.run(&Call::new(), &create(Path::new("/srv/a")).into()));
        first.await_arrivals(1);
        wire.deaf.store(true, Ordering::SeqCst);
        drop(served);
        let _again = serve_at(&address, &certificates.agent, second.clone());
        wire.deaf.store(false, Ordering::SeqCst);
        wire.cut();
        let error = made.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.message().contains("is not known"), "{error}");
        assert_eq!(second.commands(), [""; 0]);
        // The same command again is another request, and is carried out.
        remote
            .run(&Call::new(), &create(Path::new("/srv/a")).into())
            .unwrap();
    });
    assert_eq!(second.commands(), ["CreateDisk"]);
}

#[test]
fn who_cancels_stops_the_work_on_the_host() {
    let certificates = Certificates::new();
    let gated = Gated::new();
    let served = serve(&certificates.agent, gated.clone());
    let remote = remote(&served, &certificates.control);
    let cancellation = Cancellation::new();
    let call = Call::new().with_cancellation(cancellation.clone());
    std::thread::scope(|scope| {
        let made = scope.spawn(|| remote.run(&call, &create(Path::new("/srv/a")).into()));
        gated.await_arrivals(1);
        cancellation.cancel();
        let error = made.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(error.message().contains("stopped at the gate"), "{error}");
    });
}

#[test]
fn a_deadline_travels_as_the_time_that_is_left() {
    let certificates = Certificates::new();
    let served = serve(&certificates.agent, Gated::new());
    let remote = remote(&served, &certificates.control);
    let begun = Instant::now();
    let call = Call::new().with_timeout(Duration::from_millis(300));
    let error = remote
        .run(&call, &create(Path::new("/srv/a")).into())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline);
    assert!(error.message().contains("stopped at the gate"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn progress_comes_back() {
    let certificates = Certificates::new();
    let gated = Gated::new();
    let served = serve(&certificates.agent, gated.clone());
    let remote = remote(&served, &certificates.control);
    let seen = gated.clone();
    let call = Call::new().with_progress(Arc::new(move |fraction| {
        if fraction > 0.4 {
            seen.open();
        }
    }));
    // Without progress the gate stays closed.
    let call = call.with_timeout(Duration::from_secs(10));
    remote.run(&call, &create(Path::new("/srv/a")).into()).unwrap();
}
