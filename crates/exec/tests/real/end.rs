use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::process::{Signal, kill_process};
use strongroom_exec::RunError;

use crate::{PATIENCE, command, lives, process, run, sh, wait_for};

#[test]
fn a_death_by_signal_is_no_exit_code() {
    let error = run(&sh("echo bye >&2; kill -SEGV $$")).unwrap_err();
    assert!(
        matches!(&error, RunError::Signal { signal: 11, message, .. } if message == "bye"),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        format!("{} died by signal 11: bye", command("sh"))
    );
    let error = run(&sh("kill -KILL $$")).unwrap_err();
    assert!(matches!(error, RunError::Signal { signal: 9, .. }), "{error:?}");
}

#[test]
fn a_grandchild_that_holds_the_pipes_is_ended_with_the_child() {
    let begun = Instant::now();
    let done = run(&sh("sleep 120 & echo $!")).unwrap();
    assert!(begun.elapsed() < PATIENCE, "it hung on the pipes");
    assert_eq!(done.code, 0);
    let grandchild = process(&String::from_utf8(done.stdout).unwrap());
    assert!(!lives(grandchild));
}

#[test]
fn a_grandchild_that_left_the_group_lives_on_and_holds_nobody_up() {
    let place = tempfile::tempdir().unwrap();
    let number = place.path().join("number");
    // It floods the pipe for as long as it lives.
    let script = format!(
        "setsid sh -c 'echo $$ > {0}; exec yes' & until [ -s {0} ]; do :; done; echo child >&2; exit 5",
        number.display()
    );
    let begun = Instant::now();
    let done = run(&sh(&script).output_limit(usize::MAX)).unwrap();
    assert!(begun.elapsed() < PATIENCE, "it hung on the pipes");
    assert_eq!((done.code, done.stderr.as_slice()), (5, b"child\n".as_slice()));
    // Nobody reads any more: it dies of the broken pipe.
    let daemon = process(&fs::read_to_string(&number).unwrap());
    wait_for("the death of the daemon", || !lives(daemon));

    let script = format!("setsid sleep 120 & echo $! > {}", number.display());
    run(&sh(&script)).unwrap();
    let daemon = process(&fs::read_to_string(&number).unwrap());
    kill_process(daemon, Signal::KILL).unwrap();
}

#[test]
fn what_the_child_printed_last_is_not_lost() {
    for _ in 0..50 {
        let done = run(&sh("sleep 120 & printf %s last; printf %s words >&2")).unwrap();
        assert_eq!(done.stdout, b"last");
        assert_eq!(done.stderr, b"words");
    }
}

#[test]
fn no_zombie_stays_whatever_the_end() {
    let number = |done: strongroom_exec::Completed| String::from_utf8(done.stdout).unwrap();
    let pid = number(run(&sh("echo $$")).unwrap());
    assert!(!Path::new("/proc").join(pid.trim()).exists());

    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("number");
    for script in ["kill -TERM $$", "exec yes"] {
        let script = format!("echo $$ > {}; {script}", file.display());
        let error = run(&sh(&script)).unwrap_err();
        assert!(
            matches!(error, RunError::Signal { .. } | RunError::OutputLimit { .. }),
            "{error:?}"
        );
        let pid = fs::read_to_string(&file).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "{script}");
    }
}
