//! Real processes: the programs are essential packages of Debian (bash, coreutils, dash, findutils, grep, util-linux).
#![cfg(test)]

mod end;
mod limits;
mod outputs;
mod start;
mod surroundings;

use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};
use strongroom_exec::{CommandSpec, Completed, Program, RunError, Runner, SystemRunner, Watch};

/// Long enough for anything that is not stuck, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

fn command(program: &str) -> CommandSpec<'static> {
    CommandSpec::new(Program::find(program).unwrap())
}

fn sh(script: &str) -> CommandSpec<'static> {
    command("sh").args(["-c", script])
}

fn run(command: &CommandSpec<'_>) -> Result<Completed, RunError> {
    SystemRunner::new().run(command, &Watch::nobody())
}

fn stdout(command: &CommandSpec<'_>) -> String {
    let done = run(command).unwrap();
    assert_eq!(done.code, 0, "{command}: {}", done.message());
    String::from_utf8(done.stdout).unwrap()
}

fn process(number: &str) -> Pid {
    Pid::from_raw(number.trim().parse().unwrap()).unwrap()
}

/// Whether there is such a process and it has not ended: a zombie that nobody awaits is dead.
fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim().chars().next());
    test_kill_process(pid).is_ok() && !matches!(state, None | Some('Z' | 'X'))
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}
