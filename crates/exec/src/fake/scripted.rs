use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Failure, RecordedCommand, answer};
use crate::quote::Quoted;
use crate::{CommandSpec, Completed, RunError, Runner, Watch};

/// Answers the commands of a script, in the order of the script.
///
/// A command that is not the next one of the script fails as [`RunError::Start`] with an [`UnexpectedCommand`] as source, and
/// the script stays where it is. [`finish`](Self::finish) tells whether everything went by the script.
#[derive(Debug, Default)]
pub struct ScriptedRunner {
    script: Mutex<Script>,
}

#[derive(Debug, Default)]
struct Script {
    steps: VecDeque<Step>,
    unexpected: Vec<UnexpectedCommand>,
}

#[derive(Debug)]
struct Step {
    expected: Expected,
    answer: Answer,
}

enum Expected {
    Line(String),
    Where(String, Box<dyn Fn(&RecordedCommand) -> bool + Send + Sync>),
}

type Act = dyn FnOnce(&CommandSpec<'_>, &Watch<'_>) -> Result<Completed, RunError> + Send;

/// What a script says to a command: a [`Completed`], a [`Failure`], or what a closure makes of it.
pub struct Answer(Box<Act>);

/// A command came that a script does not have at this place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not by the script: {command}; the script has {}", .expected.as_deref().unwrap_or("nothing more"))]
#[non_exhaustive]
pub struct UnexpectedCommand {
    /// The command.
    pub command: String,
    /// What the script has at this place; `None` when it is over.
    pub expected: Option<String>,
}

/// Something did not go by the script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct ScriptError {
    /// The commands that came and were not expected.
    pub unexpected: Vec<UnexpectedCommand>,
    /// What the script still has.
    pub unused: Vec<String>,
}

impl ScriptedRunner {
    /// An empty script: no command is expected.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, and then comes the command of this line and is answered like this.
    ///
    /// The line is the command's own text ([`CommandSpec`] as `Display`); the directory of the program may be left out.
    #[must_use]
    pub fn on(self, line: impl Into<String>, answer: impl Into<Answer>) -> Self {
        self.with(Expected::Line(line.into()), answer.into())
    }

    /// The same, and then comes a command of which `is_it` holds and is answered like this. `what` says in messages what is
    /// expected.
    #[must_use]
    pub fn on_any(
        self,
        what: impl Into<String>,
        is_it: impl Fn(&RecordedCommand) -> bool + Send + Sync + 'static,
        answer: impl Into<Answer>,
    ) -> Self {
        self.with(Expected::Where(what.into(), Box::new(is_it)), answer.into())
    }

    fn with(self, expected: Expected, answer: Answer) -> Self {
        self.lock().steps.push_back(Step { expected, answer });
        self
    }

    /// Whether every command was expected and every expected command came.
    ///
    /// # Errors
    /// [`ScriptError`] with what was not and what did not.
    pub fn finish(&self) -> Result<(), ScriptError> {
        let script = self.lock();
        if script.steps.is_empty() && script.unexpected.is_empty() {
            return Ok(());
        }
        Err(ScriptError {
            unexpected: script.unexpected.clone(),
            unused: script.steps.iter().map(|s| s.expected.to_string()).collect(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Script {
    fn next(&mut self, command: &CommandSpec<'_>) -> Result<Answer, UnexpectedCommand> {
        match self.steps.pop_front() {
            Some(step) if step.expected.is(command) => Ok(step.answer),
            other => {
                let unexpected = UnexpectedCommand {
                    command: command.to_string(),
                    expected: other.as_ref().map(|step| step.expected.to_string()),
                };
                other.into_iter().for_each(|step| self.steps.push_front(step));
                self.unexpected.push(unexpected.clone());
                Err(unexpected)
            }
        }
    }
}

impl Expected {
    fn is(&self, command: &CommandSpec<'_>) -> bool {
        match self {
            Self::Line(line) => *line == command.to_string() || *line == by_name(command),
            Self::Where(_, is_it) => is_it(&RecordedCommand::of(command)),
        }
    }
}

/// The command line without the program's directory.
fn by_name(command: &CommandSpec<'_>) -> String {
    let name = command.program().path().file_name().unwrap_or_default();
    std::iter::once(name)
        .chain(command.arguments())
        .map(|word: &OsStr| Quoted(word).to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

impl Runner for ScriptedRunner {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        // The lock is free again when the answer is made: it may run commands itself.
        let next = self.lock().next(command);
        match next {
            Ok(Answer(act)) => act(command, watch),
            Err(unexpected) => Err(RunError::Start {
                program: command.program().to_string(),
                source: io::Error::other(unexpected),
            }),
        }
    }
}

impl Answer {
    /// What this closure makes of the command. It may do what the program would have done, or have another runner run it.
    #[must_use]
    pub fn by(
        act: impl FnOnce(&CommandSpec<'_>, &Watch<'_>) -> Result<Completed, RunError> + Send + 'static,
    ) -> Self {
        Self(Box::new(act))
    }
}

impl From<Completed> for Answer {
    fn from(done: Completed) -> Self {
        Self::by(|_, watch| Ok(answer(done, watch)))
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::by(move |command, _| Err(failure.of(command)))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer(..)")
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(text) | Self::Where(text, _) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not everything went by the script")?;
        for unexpected in &self.unexpected {
            write!(f, "; {unexpected}")?;
        }
        for unused in &self.unused {
            write!(f, "; never came: {unused}")?;
        }
        Ok(())
    }
}
