use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use crate::Program;

/// The number that the first handed-over descriptor has in the child; the next has the next number.
///
/// Fixed numbers make command lines comparable. They lie high because the child may still hold low ones that the
/// standard library needs until the program is started.
pub const DESCRIPTOR_BASE: i32 = 900;

/// A command: program, arguments, descriptors that the child inherits, and limits.
///
/// Two commands are equal when they would do the same: same program, arguments, limits and number of descriptors. The
/// lifetime is that of the descriptors, so that a command cannot outlive the keys it hands over.
#[derive(Debug, Clone)]
pub struct CommandSpec<'k> {
    program: Program,
    arguments: Vec<OsString>,
    descriptors: Vec<BorrowedFd<'k>>,
    timeout: Option<Duration>,
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

    /// The same with a limit on the time it runs, besides the caller's own deadline.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Lets the child inherit this descriptor and returns the path under which the child opens it. The same descriptor
    /// again gives the same path.
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
}
