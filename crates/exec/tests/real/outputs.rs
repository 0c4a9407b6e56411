use std::sync::Mutex;
use std::time::Duration;

use strongroom_exec::{LINE_LIMIT, OUTPUT_LIMIT, RunError, Runner, SystemRunner, Watch};

use crate::{command, run, sh};

fn zeroes(count: usize) -> strongroom_exec::CommandSpec<'static> {
    command("head").args(["-c", &count.to_string(), "/dev/zero"])
}

fn lines_of(script: &str) -> Vec<String> {
    let seen = Mutex::new(Vec::new());
    let lines = |line: &[u8]| {
        seen.lock()
            .unwrap()
            .push(String::from_utf8(line.to_vec()).unwrap())
    };
    SystemRunner::new()
        .run(&sh(script), &Watch::nobody().with_lines(&lines))
        .unwrap();
    seen.into_inner().unwrap()
}

#[test]
fn all_of_standard_output_is_kept_up_to_the_limit_and_not_a_byte_more() {
    assert_eq!(run(&zeroes(OUTPUT_LIMIT)).unwrap().stdout.len(), OUTPUT_LIMIT);
    for limit in [0, 1, 100_000] {
        let done = run(&zeroes(limit).output_limit(limit)).unwrap();
        assert_eq!(done.stdout.len(), limit);
        let error = run(&zeroes(limit + 1).output_limit(limit)).unwrap_err();
        assert!(
            matches!(&error, RunError::OutputLimit { limit: l, .. } if *l == limit),
            "{error:?}"
        );
    }
}

#[test]
fn a_flood_on_standard_output_is_ended() {
    let error = run(&command("yes")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} was stopped: it printed more than 16777216 bytes",
            command("yes")
        )
    );
}

#[test]
fn of_a_flood_on_standard_error_both_ends_are_kept() {
    let script = "echo first >&2; yes | head -n 3000000 >&2; echo last >&2; echo out; exit 3";
    let done = run(&sh(script)).unwrap();
    assert_eq!((done.code, done.stdout.as_slice()), (3, b"out\n".as_slice()));
    assert!(done.stderr.starts_with(b"first\ny\n") && done.stderr.ends_with(b"y\nlast\n"));
    let text = String::from_utf8(done.stderr.clone()).unwrap();
    let gap = 6_000_000 + "first\nlast\n".len() - 64 * 1024;
    assert!(text.contains(&format!("\n[{gap} bytes left out]\n")));
    assert!(done.stderr.len() < 66_000, "{}", done.stderr.len());
    let message = done.message();
    assert!(message.starts_with("first y") && message.ends_with("y last") && message.len() <= 1000);
}

#[test]
fn both_outputs_at_once_do_not_block_each_other() {
    let done = run(&sh("yes | head -c 1000000 & yes | head -c 1000000 >&2; wait")).unwrap();
    assert_eq!(done.stdout.len(), 1_000_000);
    assert_eq!(done.stderr.len(), 64 * 1024 + "\n[934464 bytes left out]\n".len());
}

#[test]
fn lines_and_progress_reach_who_watches_them() {
    assert_eq!(
        lines_of(r"printf '    (0.00/100%%)\r    (50.00/100%%)\r\n\nlast'"),
        ["    (0.00/100%)", "    (50.00/100%)", "", "", "last"]
    );
    assert_eq!(lines_of("echo only on standard error >&2"), Vec::<String>::new());
}

#[test]
fn lines_come_while_the_program_runs() {
    let place = tempfile::tempdir().unwrap();
    let fifo = place.path().join("fifo");
    let made = run(&command("mkfifo").arg(&fifo)).unwrap();
    assert_eq!(made.code, 0, "{}", made.message());
    // It ends only when somebody has seen its first line.
    let script = format!("echo ready; read answer < {0}; echo $answer", fifo.display());
    let lines = |line: &[u8]| {
        if line == b"ready" {
            std::fs::write(&fifo, "seen\n").unwrap();
        }
    };
    let spec = sh(&script).timeout(crate::PATIENCE);
    let done = SystemRunner::new()
        .run(&spec, &Watch::nobody().with_lines(&lines))
        .unwrap();
    assert_eq!(done.stdout, b"ready\nseen\n");
}

#[test]
fn a_line_that_never_ends_takes_bounded_memory() {
    let lines = lines_of("head -c 1000000 /dev/zero; printf '\\nnext\\n'");
    let lengths: Vec<usize> = lines.iter().map(String::len).collect();
    assert_eq!(lengths, [LINE_LIMIT, 4]);
}

#[test]
fn outputs_that_are_closed_early_are_no_end() {
    let done = run(&sh("echo out; exec >&- 2>&-; sleep 0.1; exit 7")).unwrap();
    assert_eq!((done.code, done.stdout.as_slice()), (7, b"out\n".as_slice()));
    assert!(done.duration >= Duration::from_millis(100));
}
