use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use strongroom_types::Interrupted;

use crate::child::{EndError, Running, StartError, timespec};
use crate::limits::Limits;
use crate::streams::{Stop, Streams};
use crate::{CommandSpec, Completed, RunError, Runner, Watch};

/// Starts processes.
///
/// The child has `LC_ALL=C` and nothing else in its environment, `/` as its directory, `/dev/null` as standard input, a
/// process group of its own, no core dumps, and no descriptors but its outputs, those of [`CommandSpec::pass`] and
/// those that are open in this process without close-on-exec. When [`run`](Runner::run) returns, the child has ended and was awaited, and what was left in its
/// group has been killed.
///
/// Each run is logged with `tracing` at debug level: the command line, the exit code or error, the time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRunner(());

impl SystemRunner {
    /// The runner.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }
}

impl Runner for SystemRunner {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        let begun = Instant::now();
        let result = run(command, watch, begun);
        let duration = begun.elapsed();
        match &result {
            Ok(done) => tracing::debug!(%command, code = done.code, ?duration, "ran"),
            Err(error) => tracing::debug!(%command, %error, ?duration, "did not run to its end"),
        }
        result
    }
}

fn run(command: &CommandSpec<'_>, watch: &Watch<'_>, begun: Instant) -> Result<Completed, RunError> {
    let failed = Failed(command);
    let limits = Limits::new(command, watch, begun);
    limits
        .check()
        .map_err(|why| failed.interrupted(why, Duration::ZERO))?;

    let (running, stdout, stderr) = Running::start(command).map_err(|why| failed.start(why))?;
    let mut streams = Streams::new(stdout, stderr, command.stdout_limit(), &limits);
    // Whatever happens, the panic of a stranger's closure included, the child does not outlive this call.
    let watched = catch_unwind(AssertUnwindSafe(|| watch_over(&running, &mut streams, &limits)));
    let ended = running.end();
    let watched = watched.unwrap_or_else(|panic| resume_unwind(panic));

    let status = ended.map_err(|why| failed.end(why))?;
    let duration = begun.elapsed();
    let (stdout, stderr) = watched
        .and_then(|()| streams.finish())
        .map_err(|why| failed.stopped(why, begun.elapsed()))?;
    let mut done = Completed::new(status.code().unwrap_or(-1), stdout, stderr);
    done.duration = duration;
    match status.signal() {
        None => Ok(done),
        Some(signal) => Err(RunError::Signal {
            program: failed.program(),
            signal,
            message: done.message(),
        }),
    }
}

/// Reads until the child has ended.
fn watch_over(running: &Running, streams: &mut Streams<'_>, limits: &Limits<'_>) -> Result<(), Stop> {
    loop {
        let time = limits.next_look().map(timespec);
        if streams.wait(running, time.as_ref())? {
            return Ok(());
        }
        limits.check()?;
    }
}

/// What failed, for errors.
struct Failed<'c>(&'c CommandSpec<'c>);

impl Failed<'_> {
    fn program(&self) -> String {
        self.0.program().to_string()
    }

    fn io(&self, source: std::io::Error) -> RunError {
        let program = self.program();
        RunError::Io { program, source }
    }

    fn start(&self, why: StartError) -> RunError {
        let program = self.program();
        match why {
            StartError::Start(source) => RunError::Start { program, source },
            StartError::Io(source) => RunError::Io { program, source },
        }
    }

    fn interrupted(&self, why: Interrupted, after: Duration) -> RunError {
        let program = self.program();
        match why {
            Interrupted::Cancelled => RunError::Cancelled { program },
            Interrupted::Deadline => RunError::Deadline { program, after },
        }
    }

    fn stopped(&self, why: Stop, after: Duration) -> RunError {
        match why {
            Stop::Interrupted(why) => self.interrupted(why, after),
            Stop::Io(source) => self.io(source),
            Stop::TooMuch => RunError::OutputLimit {
                program: self.program(),
                limit: self.0.stdout_limit(),
            },
        }
    }

    fn end(&self, why: EndError) -> RunError {
        match why {
            EndError::Io(source) => self.io(source),
            EndError::Stuck(pid) => RunError::Stuck {
                program: self.program(),
                pid,
            },
        }
    }
}
