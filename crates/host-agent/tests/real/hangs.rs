//! A server that does not answer: whoever needs it is told so in time, everybody else goes on, and so does whoever comes when it is back.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{
    CreateDisk, DeleteDisk, Disk, DiskContent, DiskLocation, Endpoint, EndpointError, ErrorKind, HostAnswer,
    HostCommand, InspectDisk, OpenDirectory, VerifyDisk,
};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_types::{Call, Cancellation, DiskFormat};

use crate::bench::{Bench, LUKS1, raw, size};
use crate::fuse::Fuse;
use crate::hook::Hook;

/// How long the callers of these tests wait.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How much later than that they may hear, on a machine that is busy with other tests.
const SLACK: Duration = Duration::from_secs(2);

/// These tests count threads of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The threads with names that begin so.
fn threads(name: &str) -> usize {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .filter(|found| found.starts_with(name))
        .count()
}

/// Waits until something is so, which it has to be some day.
#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came");
        std::thread::yield_now();
    }
}

fn run<'a>(agent: &HostAgent, command: impl Into<HostCommand<'a>>) -> Result<HostAnswer, EndpointError> {
    agent.run(&Call::new().with_timeout(TIMEOUT), &command.into())
}

#[track_caller]
fn silent<T: std::fmt::Debug>(answer: Result<T, EndpointError>, fuse: &Fuse) {
    let refused = answer.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Io, "{refused}");
    let point = fuse.point.to_str().unwrap();
    assert!(
        refused.message().contains(point) && refused.message().contains("test-server"),
        "{refused}"
    );
}

#[test]
fn a_silent_server_is_waited_for_once_and_asked_until_it_answers() {
    let _alone = alone();
    let bench = Bench::new();
    let fuse = Fuse::new(bench.path("far"));
    let open = OpenDirectory::new(&fuse.point);
    let Ok(HostAnswer::Directory(facts)) = run(&bench.agent, open) else {
        panic!("it answers")
    };
    assert!(!facts.writable);
    assert_eq!(facts.mount.unwrap().source, "test-server");

    fuse.hush();
    let begun = Instant::now();
    silent(run(&bench.agent, open), &fuse);
    assert!(begun.elapsed() < TIMEOUT + SLACK, "{:?}", begun.elapsed());

    // Everything that touches it is refused without waiting, through a symlink too; everything else goes on.
    let link = bench.path("link");
    std::os::unix::fs::symlink("far/disk", &link).unwrap();
    let (far, near) = (fuse.point.join("disk"), bench.path("disk"));
    let (at_far, at_near) = (DiskLocation::file(&far), DiskLocation::file(&near));
    let make = |path, content| CreateDisk::new(path, DiskFormat::Qcow2, size(1 << 20), bench.luks(), content);
    let disk = |at| Disk::new(at, DiskFormat::Qcow2, bench.luks());
    let begun = Instant::now();
    for command in [
        HostCommand::from(open),
        make(&far, DiskContent::Blank).into(),
        make(&near, DiskContent::Template(raw(&link))).into(),
        make(&near, DiskContent::Copy(disk(&at_far))).into(),
        VerifyDisk::new(disk(&at_far)).into(),
        DeleteDisk::new(&far).into(),
        InspectDisk::new(&at_near, DiskFormat::Qcow2, None)
            .base_in(Some(&fuse.point))
            .into(),
    ] {
        silent(run(&bench.agent, command), &fuse);
    }
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
    run(&bench.agent, make(&near, DiskContent::Blank)).unwrap();
    run(&bench.agent, VerifyDisk::new(disk(&at_near))).unwrap();
    until(|| threads("strongroom-ask") == 1);
    assert_eq!(threads("strongroom-remo"), 0);

    fuse.speak();
    until(|| run(&bench.agent, open).is_ok());
    assert_eq!(
        run(&bench.agent, DeleteDisk::new(&far)).unwrap(),
        HostAnswer::Done
    );
    until(|| threads("strongroom-ask") == 0);
}

#[test]
fn a_server_that_falls_silent_in_the_middle_of_a_command_is_not_waited_for_beyond_the_deadline() {
    let _alone = alone();
    let bench = Bench::new();
    let fuse = Fuse::new(bench.path("far"));
    fuse.hush_after_one();
    let open = OpenDirectory::new(&fuse.point);
    let begun = Instant::now();
    silent(run(&bench.agent, open), &fuse);
    assert!(begun.elapsed() < TIMEOUT + SLACK, "{:?}", begun.elapsed());
    assert_eq!(threads("strongroom-remo"), 1, "the one that was left behind");
    for _ in 0..3 {
        silent(run(&bench.agent, open), &fuse);
    }
    until(|| threads("strongroom-ask") == 1);
    assert_eq!(threads("strongroom-remo"), 1);
    fuse.speak();
    until(|| run(&bench.agent, open).is_ok());
    until(|| threads("strongroom-remo") + threads("strongroom-ask") == 0);
}

#[test]
fn nobody_comes_in_before_what_was_left_behind_has_ended() {
    let _alone = alone();
    let bench = Bench::new();
    let fuse = Fuse::new(bench.path("far"));
    let near = bench.path("disk");
    let create = CreateDisk::new(
        &near,
        DiskFormat::Qcow2,
        size(1 << 20),
        bench.luks(),
        DiskContent::Blank,
    );
    bench.disk(create);
    let tools_wait = Arc::new(Mutex::new(()));
    let gate = tools_wait.clone();
    let agent = HostAgent::new(
        "here".parse().unwrap(),
        ToolPaths::system(),
        Arc::new(Hook::before(move |_, _| drop(gate.lock().unwrap()))),
    );
    let at = DiskLocation::file(&near);
    let inspect = InspectDisk::new(&at, DiskFormat::Qcow2, Some(LUKS1)).base_in(Some(&fuse.point));
    let closed = tools_wait.lock().unwrap();
    fuse.hush_after_one();
    silent(run(&agent, inspect), &fuse);
    fuse.speak();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        silent(run(&agent, OpenDirectory::new(&fuse.point)), &fuse);
    }
    drop(closed);
    until(|| run(&agent, OpenDirectory::new(&fuse.point)).is_ok());
}

#[test]
fn a_caller_that_gives_no_time_hears_of_a_silent_server_all_the_same_and_can_stop() {
    let _alone = alone();
    let bench = Bench::new();
    let fuse = Fuse::new(bench.path("far"));
    fuse.hush();
    let in_a_hurry = Call::new().with_timeout(Duration::from_millis(100));
    let open = OpenDirectory::new(&fuse.point).into();
    let late = bench.agent.run(&in_a_hurry, &open).unwrap_err();
    assert_eq!(
        late.kind(),
        ErrorKind::Deadline,
        "too soon to blame anybody: {late}"
    );
    let begun = Instant::now();
    silent(bench.agent.run(&Call::new(), &open), &fuse);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    drop(fuse);
    until(|| threads("strongroom-ask") == 0);
}

#[test]
fn a_caller_that_wants_to_stop_is_not_held_by_a_silent_server() {
    let _alone = alone();
    let bench = Bench::new();
    let fuse = Fuse::new(bench.path("far"));
    for answers in [0, 1] {
        let (cancellation, begun) = (Cancellation::new(), Instant::now());
        let call = Call::new().with_cancellation(cancellation.clone());
        if answers == 0 {
            fuse.hush();
        } else {
            fuse.speak();
            until(|| run(&bench.agent, OpenDirectory::new(&fuse.point)).is_ok());
            fuse.hush_after_one();
        }
        std::thread::scope(|scope| {
            let stopped = scope.spawn(|| bench.agent.run(&call, &OpenDirectory::new(&fuse.point).into()));
            until(|| threads(["strongroom-ask", "strongroom-remo"][answers]) == 1);
            cancellation.cancel();
            let stopped = stopped.join().unwrap().unwrap_err();
            let kind = [ErrorKind::Cancelled, ErrorKind::Io][answers];
            assert_eq!(stopped.kind(), kind, "{stopped}");
        });
        assert!(begun.elapsed() < TIMEOUT + SLACK, "{:?}", begun.elapsed());
    }
}
