use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use strongroom_exec::{CommandSpec, RunError, Runner, SystemRunner, Watch};
use strongroom_types::{Call, Cancellation};

use crate::{PATIENCE, command, lives, process, run, sh};

/// Prints its number and that of a child, both of which would live for two minutes.
fn family() -> CommandSpec<'static> {
    sh("sleep 120 & echo $$ $!; wait")
}

/// Runs the family until both are there and then what `then` does, and says who they were.
fn run_family(call: &Call, then: impl Fn() + Sync) -> (Result<i32, RunError>, Vec<String>) {
    let members = Mutex::new(Vec::new());
    let lines = |line: &[u8]| {
        let text = String::from_utf8(line.to_vec()).unwrap();
        members.lock().unwrap().extend(text.split(' ').map(str::to_owned));
        then();
    };
    let watch = Watch::call(call).with_lines(&lines);
    let result = SystemRunner::new().run(&family(), &watch).map(|done| done.code);
    (result, members.into_inner().unwrap())
}

fn all_dead(members: &[String]) {
    assert_eq!(members.len(), 2, "the family was not complete: {members:?}");
    for member in members {
        assert!(!lives(process(member)), "{member} of {members:?} lives");
    }
}

#[test]
fn a_deadline_kills_grandchildren_too() {
    // Soon enough for a test, late enough for two processes to start.
    let mut after = Duration::from_millis(200);
    loop {
        let call = Call::new().with_timeout(after);
        let (result, members) = run_family(&call, || {});
        let Err(RunError::Deadline { after: ran, .. }) = result else {
            panic!("{result:?}");
        };
        assert!(ran >= after && ran < after + PATIENCE, "{ran:?}");
        if members.is_empty() {
            after *= 2;
            continue;
        }
        return all_dead(&members);
    }
}

#[test]
fn the_earlier_of_the_commands_limit_and_the_callers_deadline_counts() {
    let (soon, late) = (Duration::from_millis(50), PATIENCE * 10);
    for (own, callers) in [
        (Some(soon), Some(late)),
        (Some(late), Some(soon)),
        (Some(soon), None),
        (None, Some(soon)),
    ] {
        let mut spec = command("sleep").arg("120");
        if let Some(own) = own {
            spec = spec.timeout(own);
        }
        let call = callers.map(|limit| Call::new().with_timeout(limit));
        let watch = call.as_ref().map_or_else(Watch::nobody, Watch::call);
        let error = SystemRunner::new().run(&spec, &watch).unwrap_err();
        assert!(
            matches!(&error, RunError::Deadline { after, .. } if *after >= soon && *after < PATIENCE),
            "{own:?} {callers:?}: {error:?}"
        );
    }
    let done = run(&command("true").timeout(Duration::MAX)).unwrap();
    assert_eq!(done.code, 0);
}

#[test]
fn cancellation_kills_grandchildren_too() {
    let cancellation = Cancellation::new();
    let call = Call::new().with_cancellation(cancellation.clone());
    let (result, members) = run_family(&call, || cancellation.cancel());
    assert!(matches!(result, Err(RunError::Cancelled { .. })), "{result:?}");
    all_dead(&members);
}

#[test]
fn cancellation_from_another_thread_is_noticed_while_nothing_is_printed() {
    let cancellation = Cancellation::new();
    let call = Call::new().with_cancellation(cancellation.clone());
    let (started, begin) = mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            begin.recv().unwrap();
            cancellation.cancel();
        });
        let lines = |_: &[u8]| started.send(()).unwrap();
        let begun = Instant::now();
        let error = SystemRunner::new()
            .run(
                &sh("echo; exec sleep 120"),
                &Watch::call(&call).with_lines(&lines),
            )
            .unwrap_err();
        assert!(matches!(error, RunError::Cancelled { .. }), "{error:?}");
        assert!(begun.elapsed() < PATIENCE);
    });
}

#[test]
fn a_call_that_is_over_starts_nothing() {
    let place = tempfile::tempdir().unwrap();
    let trace = place.path().join("trace");
    let touch = command("touch").arg(&trace);
    let cancelled = Call::new();
    cancelled.cancellation().cancel();
    let error = SystemRunner::new()
        .run(&touch, &Watch::call(&cancelled))
        .unwrap_err();
    assert!(matches!(error, RunError::Cancelled { .. }), "{error:?}");
    let late = Call::new().with_timeout(Duration::ZERO);
    let error = SystemRunner::new().run(&touch, &Watch::call(&late)).unwrap_err();
    assert!(
        matches!(
            error,
            RunError::Deadline {
                after: Duration::ZERO,
                ..
            }
        ),
        "{error:?}"
    );
    let error = run(&touch.clone().timeout(Duration::ZERO)).unwrap_err();
    assert!(
        matches!(
            error,
            RunError::Deadline {
                after: Duration::ZERO,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!trace.exists());
    run(&touch).unwrap();
    assert!(trace.exists());
}

#[test]
fn a_flood_does_not_hide_the_deadline() {
    let limit = Duration::from_millis(300);
    for script in ["exec yes >&2", "exec yes '' >&2", "yes >&2 & exec yes >&2"] {
        let error = run(&sh(script).timeout(limit)).unwrap_err();
        assert!(
            matches!(&error, RunError::Deadline { after, .. } if *after < PATIENCE),
            "{script}: {error:?}"
        );
    }
}

#[test]
fn no_line_is_handed_out_after_cancellation() {
    // What ends by itself before its lines were handed out, and what does not.
    for script in ["printf '\\n%.0s' $(seq 5000)", "exec yes ''"] {
        let cancellation = Cancellation::new();
        let call = Call::new().with_cancellation(cancellation.clone());
        let calls = AtomicUsize::new(0);
        let lines = |_: &[u8]| {
            if calls.fetch_add(1, Ordering::SeqCst) + 1 == 3 {
                cancellation.cancel();
            }
        };
        let result = SystemRunner::new()
            .run(&sh(script), &Watch::call(&call).with_lines(&lines))
            .map(|done| done.code);
        assert!(
            matches!(result, Err(RunError::Cancelled { .. })),
            "{script}: {result:?}"
        );
        assert_eq!(calls.into_inner(), 3, "{script}");
    }
}

#[test]
fn no_line_is_handed_out_after_the_deadline() {
    let limit = Duration::from_millis(20);
    for (script, own) in [
        ("printf '\\n%.0s' $(seq 5000)", false),
        ("exec yes ''", false),
        ("exec yes ''", true),
    ] {
        let call = if own {
            Call::new()
        } else {
            Call::new().with_timeout(limit)
        };
        let spec = if own {
            sh(script).timeout(limit)
        } else {
            sh(script)
        };
        // The first line takes longer than there is time.
        let calls = AtomicUsize::new(0);
        let begun = Instant::now();
        let lines = |_: &[u8]| {
            calls.fetch_add(1, Ordering::SeqCst);
            while begun.elapsed() <= limit * 2 {
                std::thread::yield_now();
            }
        };
        let result = SystemRunner::new()
            .run(&spec, &Watch::call(&call).with_lines(&lines))
            .map(|done| done.code);
        assert!(
            matches!(&result, Err(RunError::Deadline { after, .. }) if *after >= limit),
            "{script}: {result:?}"
        );
        // None when the machine was so slow that the time was over before.
        assert!(calls.into_inner() <= 1, "{script}");
    }
}

#[test]
fn a_line_reader_that_panics_takes_the_child_with_it() {
    let calls = AtomicUsize::new(0);
    let members = Mutex::new(Vec::new());
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let lines = |line: &[u8]| {
            calls.fetch_add(1, Ordering::SeqCst);
            let text = String::from_utf8(line.to_vec()).unwrap();
            members.lock().unwrap().extend(text.split(' ').map(str::to_owned));
            std::panic::resume_unwind(Box::new("the reader's own"));
        };
        SystemRunner::new().run(&family(), &Watch::nobody().with_lines(&lines))
    }))
    .unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"the reader's own"));
    assert_eq!(calls.into_inner(), 1);
    let members = members.into_inner().unwrap();
    all_dead(&members);
    // The child itself was awaited.
    assert!(!std::path::Path::new(&format!("/proc/{}", members[0])).exists());
}
