use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use strongroom_exec::{CommandSpec, Completed, RunError, Runner, SystemRunner, Watch};
use strongroom_types::{Call, Cancellation};

use super::LabError;
use super::process::{PATIENCE, Process};
use super::tools::tool;

/// The first process of a host.
const SCRIPT: &str = include_str!("host.sh");

/// The namespaces of a host (processes, mounts, network, name), with a first process that starts the others.
///
/// When that ends, the kernel kills all others, and with the last of them mounts and network devices go. It ends when this is
/// dropped, and when the thread that waits for it ends, which it does with this process, however that ends.
#[derive(Debug)]
pub(crate) struct Namespaces {
    host: String,
    first: Process,
    /// To the first process: what to start. It ends when this is closed.
    lines: Mutex<Option<(PipeWriter, BufReader<PipeReader>)>>,
    cancellation: Cancellation,
    waiting: Mutex<Option<JoinHandle<Result<Completed, RunError>>>>,
}

impl Namespaces {
    /// Makes them, with the files of the lab in this directory.
    pub(crate) fn new(host: &str, lab: &Path) -> Result<Self, LabError> {
        let pipe = || std::io::pipe().map_err(LabError::io("make a pipe for", Path::new(host)));
        let ((lines_in, lines), (answers, answers_out)) = (pipe()?, pipe()?);
        let unshare = tool("unshare", "util-linux")?.program().path().to_owned();
        let bash = tool("bash", "bash")?.program().path().to_owned();
        let command = tool("setpriv", "util-linux")?
            .args(["--pdeathsig", "KILL"])
            .arg(unshare)
            .args(["--pid", "--mount", "--net", "--uts", "--fork", "--kill-child"])
            .arg(bash)
            .args(["-c", SCRIPT, "host.sh", host])
            .arg(lab);
        tool("mount", "mount")?;
        tool("ip", "iproute2")?;

        let cancellation = Cancellation::new();
        let call = Call::new().with_cancellation(cancellation.clone());
        let waiting = std::thread::Builder::new()
            .name(format!("lab {host}"))
            .spawn(move || {
                let mut command = command;
                command.pass(lines_in.as_fd());
                command.pass(answers_out.as_fd());
                SystemRunner::new().run(&command, &Watch::call(&call))
            })
            .map_err(LabError::io("start a thread for", Path::new(host)))?;

        let mut answers = BufReader::new(answers);
        let Some(first) = answer(&mut answers).and_then(Process::of) else {
            drop(lines);
            return Err(LabError::Namespaces {
                host: host.to_owned(),
                message: last_words(waiting),
            });
        };
        Ok(Self {
            host: host.to_owned(),
            first,
            lines: Mutex::new(Some((lines, answers))),
            cancellation,
            waiting: Mutex::new(Some(waiting)),
        })
    }

    /// The number of the first process, outside.
    pub(crate) fn pid(&self) -> i32 {
        self.first.pid()
    }

    /// The command, to be run inside: with the same descriptors and limits.
    pub(crate) fn enter<'k>(&self, command: &CommandSpec<'k>) -> Result<CommandSpec<'k>, LabError> {
        let mut inside = tool("nsenter", "util-linux")?
            .arg("--target")
            .arg(self.pid().to_string())
            .args(["--pid", "--mount", "--net", "--uts", "--"])
            .arg(command.program().path())
            .args(command.arguments())
            .output_limit(command.stdout_limit());
        if let Some(limit) = command.time_limit() {
            inside = inside.timeout(limit);
        }
        for descriptor in command.descriptors() {
            inside.pass(*descriptor);
        }
        Ok(inside)
    }

    /// Starts a process inside that goes on when this returns. What it says is appended to this file.
    pub(crate) fn launch(&self, command: &CommandSpec<'_>, log: &Path) -> Result<Process, LabError> {
        let gone = || LabError::Namespaces {
            host: self.host.clone(),
            message: format!("cannot start {command}"),
        };
        let mut pipes = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, answers) = pipes.as_mut().ok_or_else(gone)?;
        let line = format!("{command} </dev/null >>'{}' 2>&1\n", log.display());
        lines.write_all(line.as_bytes()).map_err(|_| gone())?;
        let number = answer(answers).ok_or_else(gone)?;
        Process::inside(self.pid(), number).ok_or_else(|| LabError::Ended {
            what: command.to_string(),
            log: tail(log),
        })
    }

    /// The process with this number inside.
    pub(crate) fn process(&self, number: i32) -> Option<Process> {
        Process::inside(self.pid(), number)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // The end of the lines is the end of the first process.
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if !self.first.ends_within(PATIENCE) {
            self.cancellation.cancel();
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waiting) = waiting {
            let _ = waiting.join();
        }
    }
}

/// A line with a number.
fn answer(answers: &mut impl BufRead) -> Option<i32> {
    let mut line = String::new();
    answers.read_line(&mut line).ok()?;
    line.trim().parse().ok()
}

/// What a first process said that ended before it was ready.
fn last_words(waiting: JoinHandle<Result<Completed, RunError>>) -> String {
    match waiting.join() {
        Ok(Ok(done)) => format!("exit code {}: {}", done.code, done.message()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the thread that waits for it panicked".to_owned(),
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
