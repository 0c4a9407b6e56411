use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use crate::Program;
use crate::quote::Quoted;

/// The number that the first handed-over descriptor has in the child; the next has the next number.
///
/// Fixed numbers make command lines comparable. They lie high because most processes have no descriptors there. From the
/// first run on that passes so many, this process itself keeps those of the numbers that are free taken by `/dev/null`,
/// close-on-exec: while a program is started the standard library needs a pipe, which must not have one of them.
///
/// The limit of open files (`RLIMIT_NOFILE`) has to be above them, or the run is a
/// [`RunError::Start`](crate::RunError::Start) that says how much is needed; Linux starts processes with 1,024.
pub const DESCRIPTOR_BASE: i32 = 900;

/// How much a command may print on standard output unless it says otherwise: 16 MiB.
pub const OUTPUT_LIMIT: usize = 16 << 20;

/// A command: program, arguments, descriptors that the child inherits, and limits.
///
/// Two commands are equal when they would do the same: same program, arguments, limits and number of descriptors. The
/// lifetime is that of the descriptors, so that a command cannot outlive the keys it hands over.
///
/// It is shown as one line that a shell understands, whatever bytes the arguments have. Keys are handed over by
/// descriptor and never as an argument, so the line may go into messages and logs.
#[derive(Debug, Clone)]
pub struct CommandSpec<'k> {
    program: Program,
    arguments: Vec<OsString>,
    descriptors: Vec<BorrowedFd<'k>>,
    timeout: Option<Duration>,
    output_limit: usize,
}

impl<'k> CommandSpec<'k> {
    /// The program without arguments.
    #[must_use]
    pub fn new(program: Program) -> Self {
        Self {
            program,
            arguments: Vec::new(),
            descriptors: Vec::new(),
            timeout: None,
            output_limit: OUTPUT_LIMIT,
        }
    }

    /// The same with one more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.push(argument);
        self
    }

    /// The same with more arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds an argument.
    pub fn push(&mut self, argument: impl Into<OsString>) {
        self.arguments.push(argument.into());
    }

    /// The same with a limit on the time it runs. When the caller has a deadline too, the earlier one counts.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same with another limit on what it prints on standard output, in bytes, than [`OUTPUT_LIMIT`]. All of it is
    /// held in memory.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Lets the child inherit this descriptor and returns the path under which the child opens it. The same descriptor
    /// again gives the same path. The numbers begin at [`DESCRIPTOR_BASE`].
    pub fn pass(&mut self, descriptor: BorrowedFd<'k>) -> PathBuf {
        let known = self
            .descriptors
            .iter()
            .position(|d| d.as_raw_fd() == descriptor.as_raw_fd());
        let index = known.unwrap_or_else(|| {
            self.descriptors.push(descriptor);
            self.descriptors.len() - 1
        });
        PathBuf::from(format!("/proc/self/fd/{}", DESCRIPTOR_BASE as usize + index))
    }

    /// The same without its descriptors, which may go before it does.
    pub(crate) fn without_descriptors(&self) -> CommandSpec<'static> {
        CommandSpec {
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            descriptors: Vec::new(),
            timeout: self.timeout,
            output_limit: self.output_limit,
        }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The arguments, without the program.
    pub fn arguments(&self) -> impl Iterator<Item = &OsStr> {
        self.arguments.iter().map(OsString::as_os_str)
    }

    /// The descriptors that the child inherits, in the order of their numbers there.
    #[must_use]
    pub fn descriptors(&self) -> &[BorrowedFd<'k>] {
        &self.descriptors
    }

    /// How long it may run, as said with [`timeout`](Self::timeout).
    #[must_use]
    pub fn time_limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// How many bytes it may print on standard output.
    #[must_use]
    pub fn stdout_limit(&self) -> usize {
        self.output_limit
    }
}

impl PartialEq<CommandSpec<'_>> for CommandSpec<'_> {
    fn eq(&self, other: &CommandSpec<'_>) -> bool {
        self.program == other.program
            && self.arguments == other.arguments
            && self.descriptors.len() == other.descriptors.len()
            && self.timeout == other.timeout
            && self.output_limit == other.output_limit
    }
}

impl Eq for CommandSpec<'_> {}

impl fmt::Display for CommandSpec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.fmt(f)?;
        self.arguments()
            .try_for_each(|word| write!(f, " {}", Quoted(word)))
    }
}
