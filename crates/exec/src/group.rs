use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process_group};

/// How long those that a child left behind may take to end after they were killed.
const REST: Duration = Duration::from_millis(500);

/// Waits until nothing of a killed group runs any more, for half a second at most. Mostly it is so at the first look.
pub(crate) fn wait_until_gone(group: Pid) {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    // The kernel counts the dead too until somebody awaits them, and in many a container nobody does.
    while test_kill_process_group(group).is_ok() && any_runs(group) && begun.elapsed() < REST {
        std::thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(16));
    }
}

fn any_runs(group: Pid) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return false;
    };
    processes
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .iter()
                .all(u8::is_ascii_digit)
        })
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .any(|stat| runs_in(group, &stat))
}

/// Whether this line of `/proc/PID/stat` is about a process of the group that has not ended. The fields are in proc(5); the
/// second is the name in parentheses, which may have anything in it.
fn runs_in(group: Pid, stat: &str) -> bool {
    let mut fields = stat
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_ascii_whitespace();
    let (state, group_there) = (fields.next(), fields.nth(1));
    !matches!(state, None | Some("Z" | "X")) && group_there == Some(&group.to_string())
}

#[cfg(test)]
mod tests {
    use rustix::process::{getpgrp, getpid};

    use super::*;

    #[test]
    fn only_those_that_still_run_count() {
        let group = Pid::from_raw(77).unwrap();
        assert!(runs_in(group, "80 (sleep) S 1 77 70 0 -1"));
        assert!(runs_in(group, "80 (a) b (c) D 1 77 70 0 -1"));
        assert!(!runs_in(group, "80 (sleep) Z 1 77 70 0 -1"));
        assert!(!runs_in(group, "80 (sleep) S 77 78 77 0 -1"));
        assert!(!runs_in(group, ""));
    }

    #[test]
    fn this_process_runs_in_its_group() {
        assert!(any_runs(getpgrp()));
        let stat = fs::read_to_string(format!("/proc/{}/stat", getpid())).unwrap();
        assert!(runs_in(getpgrp(), &stat), "{stat}");
    }
}
