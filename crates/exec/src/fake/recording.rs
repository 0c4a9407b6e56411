use std::ffi::OsStr;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::answer;
use crate::{CommandSpec, Completed, Program, RunError, Runner, Watch};

/// A command that was run, without the descriptors themselves. It equals the [`CommandSpec`] that it was made of and is
/// shown as that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCommand {
    spec: CommandSpec<'static>,
    descriptors: usize,
}

impl RecordedCommand {
    /// What is kept of this command.
    #[must_use]
    pub fn of(command: &CommandSpec<'_>) -> Self {
        Self {
            spec: command.without_descriptors(),
            descriptors: command.descriptors().len(),
        }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        self.spec.program()
    }

    /// The arguments, without the program.
    pub fn arguments(&self) -> impl Iterator<Item = &OsStr> {
        self.spec.arguments()
    }

    /// How many descriptors it handed over.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.descriptors
    }

    /// How long it was allowed to run.
    #[must_use]
    pub fn time_limit(&self) -> Option<Duration> {
        self.spec.time_limit()
    }

    /// How many bytes it was allowed to print.
    #[must_use]
    pub fn stdout_limit(&self) -> usize {
        self.spec.stdout_limit()
    }
}

impl PartialEq<CommandSpec<'_>> for RecordedCommand {
    fn eq(&self, other: &CommandSpec<'_>) -> bool {
        self.descriptors == other.descriptors().len() && self.spec == other.without_descriptors()
    }
}

impl fmt::Display for RecordedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)
    }
}

/// Keeps every command that it is asked to run, and gives one answer or has another runner run them.
#[derive(Debug)]
pub struct RecordingRunner {
    commands: Mutex<Vec<RecordedCommand>>,
    behind: Behind,
}

#[derive(Debug)]
enum Behind {
    Answer(Completed),
    Runner(Box<dyn Runner>),
}

impl RecordingRunner {
    /// Gives this answer to every command.
    #[must_use]
    pub fn answering(answer: Completed) -> Self {
        Self::before(Behind::Answer(answer))
    }

    /// Has this runner run the commands.
    #[must_use]
    pub fn around(runner: impl Runner + 'static) -> Self {
        Self::before(Behind::Runner(Box::new(runner)))
    }

    fn before(behind: Behind) -> Self {
        Self {
            commands: Mutex::default(),
            behind,
        }
    }

    /// What it was asked to run so far, in the order in which the runs began.
    #[must_use]
    pub fn commands(&self) -> Vec<RecordedCommand> {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The same as command lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.commands().iter().map(ToString::to_string).collect()
    }
}

impl Runner for RecordingRunner {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        self.commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(RecordedCommand::of(command));
        match &self.behind {
            Behind::Answer(done) => Ok(answer(done.clone(), watch)),
            Behind::Runner(runner) => runner.run(command, watch),
        }
    }
}
