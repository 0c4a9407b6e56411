//! The runners that start no process.
#![cfg(test)]

use std::error::Error;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use strongroom_exec::fake::{
    Answer, FailingRunner, Failure, RecordedCommand, RecordingRunner, ScriptedRunner, UnexpectedCommand,
    program,
};
use strongroom_exec::{CommandSpec, Completed, Program, RunError, Runner, SystemRunner, Watch};

fn tool(argument: &str) -> CommandSpec<'static> {
    CommandSpec::new(program("/no/such/tool")).arg(argument)
}

fn run(runner: &impl Runner, argument: &str) -> Result<Completed, RunError> {
    runner.run(&tool(argument), &Watch::nobody())
}

/// Whether a signal to this process reaches nobody, and this test neither.
fn nobody_is(pid: u32) -> bool {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    test_kill_process(pid) == Err(Errno::SRCH)
}

#[test]
fn a_recording_outlives_the_descriptors_and_equals_the_command() {
    let recorder = Arc::new(RecordingRunner::answering(Completed::new(3, "out", "err")));
    {
        let file = File::open("/").unwrap();
        let mut spec = tool("-k").timeout(Duration::from_secs(9)).output_limit(5);
        let path = spec.pass(file.as_fd());
        let spec = spec.arg(path);
        let done = Arc::clone(&recorder).run(&spec, &Watch::nobody()).unwrap();
        assert_eq!(done, Completed::new(3, "out", "err"));
        assert_eq!(recorder.commands()[0], spec);
        assert_ne!(recorder.commands()[0], tool("-k"));
    }
    run(&recorder, "two words").unwrap();
    assert_eq!(
        recorder.lines(),
        ["/no/such/tool -k /proc/self/fd/900", "/no/such/tool 'two words'"]
    );
    let commands = recorder.commands();
    assert_eq!(commands[1], RecordedCommand::of(&tool("two words")));
    assert_eq!((commands[0].descriptors(), commands[1].descriptors()), (1, 0));
    assert_eq!(commands[0].time_limit(), Some(Duration::from_secs(9)));
    assert_eq!(commands[0].stdout_limit(), 5);
    assert_eq!(commands[1].program(), tool("").program());
    assert_eq!(commands[1].arguments().collect::<Vec<_>>(), ["two words"]);
}

#[test]
fn a_recorder_passes_commands_on_with_whoever_watches() {
    let recorder = RecordingRunner::around(SystemRunner::new());
    let echo = CommandSpec::new(Program::find("echo").unwrap()).arg("real");
    let seen = Mutex::new(Vec::new());
    let lines = |line: &[u8]| seen.lock().unwrap().push(line.to_vec());
    let done = recorder.run(&echo, &Watch::nobody().with_lines(&lines)).unwrap();
    assert_eq!(done.stdout, b"real\n");
    assert_eq!(seen.into_inner().unwrap(), [b"real"]);
    assert_eq!(recorder.commands(), [RecordedCommand::of(&echo)]);
}

#[test]
fn given_answers_have_lines_too() {
    let progress = Completed::new(0, "(50/100%)\r(100/100%)\rdone", "");
    let recorder = RecordingRunner::answering(progress.clone());
    let script = ScriptedRunner::new().on("tool x", progress);
    for runner in [&recorder as &dyn Runner, &script] {
        let seen = Mutex::new(Vec::new());
        let lines = |line: &[u8]| {
            seen.lock()
                .unwrap()
                .push(String::from_utf8(line.to_vec()).unwrap())
        };
        runner
            .run(&tool("x"), &Watch::nobody().with_lines(&lines))
            .unwrap();
        assert_eq!(seen.into_inner().unwrap(), ["(50/100%)", "(100/100%)", "done"]);
    }
}

#[test]
fn a_script_answers_in_its_order() {
    let script = ScriptedRunner::new()
        .on("/no/such/tool a", Completed::new(0, "first", ""))
        .on("tool 'b c'", Completed::new(1, "", "second"))
        .on_any(
            "anything with d",
            |c| c.arguments().any(|a| a == "d"),
            Failure::Cancelled,
        )
        .on(
            "tool e",
            Answer::by(|command, _| Ok(Completed::new(0, command.to_string(), ""))),
        );
    assert_eq!(run(&script, "a").unwrap().stdout, b"first");
    assert_eq!(run(&script, "b c").unwrap().message(), "second");
    let third = run(&script, "d");
    assert!(matches!(third, Err(RunError::Cancelled { .. })), "{third:?}");
    let error = script.finish().unwrap_err();
    assert_eq!(
        error.to_string(),
        "not everything went by the script; never came: tool e"
    );
    assert_eq!(run(&script, "e").unwrap().stdout, b"/no/such/tool e");
    assert_eq!(script.finish(), Ok(()));
}

#[test]
fn what_is_not_by_the_script_fails_at_once_and_at_the_end() {
    let script = ScriptedRunner::new()
        .on("tool a", Completed::new(0, "", ""))
        .on_any("a strange one", |_| false, Failure::Deadline);
    let reason = |result: Result<Completed, RunError>| {
        let error = result.unwrap_err();
        assert!(matches!(&error, RunError::Start { .. }), "{error:?}");
        let source = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
        source
            .get_ref()
            .unwrap()
            .downcast_ref::<UnexpectedCommand>()
            .unwrap()
            .to_string()
    };
    let first = reason(run(&script, "b"));
    assert_eq!(first, "not by the script: /no/such/tool b; the script has tool a");
    run(&script, "a").unwrap();
    let second = reason(run(&script, "a"));
    assert_eq!(
        second,
        "not by the script: /no/such/tool a; the script has a strange one"
    );
    let error = script.finish().unwrap_err();
    assert_eq!(error.unexpected.len(), 2);
    assert_eq!(error.unused, ["a strange one"]);
    assert_eq!(
        error.to_string(),
        format!("not everything went by the script; {first}; {second}; never came: a strange one")
    );

    let empty = ScriptedRunner::new();
    assert_eq!(empty.finish(), Ok(()));
    let third = reason(run(&empty, "a"));
    assert_eq!(
        third,
        "not by the script: /no/such/tool a; the script has nothing more"
    );
}

#[test]
fn each_failure_is_its_error() {
    let signal = Failure::Signal {
        signal: 9,
        message: "bye".to_owned(),
    };
    let failures = [
        Failure::Start(ErrorKind::NotFound),
        Failure::Deadline,
        Failure::Cancelled,
        signal,
        Failure::OutputLimit,
        Failure::Stuck,
        Failure::Io(ErrorKind::BrokenPipe),
    ];
    for failure in failures {
        let runner = FailingRunner::new(failure.clone());
        for _ in 0..2 {
            let error = run(&runner, "a").unwrap_err();
            let fits = match (&failure, &error) {
                (Failure::Start(kind), RunError::Start { source, .. })
                | (Failure::Io(kind), RunError::Io { source, .. }) => source.kind() == *kind,
                (Failure::Signal { .. }, RunError::Signal { signal, message, .. }) => {
                    *signal == 9 && message == "bye"
                }
                (Failure::OutputLimit, RunError::OutputLimit { limit, .. }) => {
                    *limit == tool("").stdout_limit()
                }
                (Failure::Deadline, RunError::Deadline { .. })
                | (Failure::Cancelled, RunError::Cancelled { .. }) => true,
                (Failure::Stuck, RunError::Stuck { pid, .. }) => nobody_is(*pid),
                _ => false,
            };
            assert!(fits, "{failure:?} became {error:?}");
            assert!(error.to_string().contains("/no/such/tool"), "{error}");
        }
    }
}

#[test]
fn a_runner_that_fails_later_does_some_runs_first() {
    let recorder = Arc::new(RecordingRunner::answering(Completed::new(0, "", "")));
    let runner = FailingRunner::after(2, Arc::clone(&recorder), Failure::Deadline);
    assert_eq!(runner.left(), 2);
    run(&runner, "a").unwrap();
    run(&runner, "b").unwrap();
    for _ in 0..2 {
        let late = run(&runner, "c");
        assert!(matches!(late, Err(RunError::Deadline { .. })), "{late:?}");
    }
    assert_eq!(runner.left(), 0);
    assert_eq!(recorder.lines(), ["/no/such/tool a", "/no/such/tool b"]);
}
