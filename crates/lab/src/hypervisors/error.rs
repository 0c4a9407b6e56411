use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strongroom_exec::{ProgramNotFound, RunError};

use crate::GuestError;

/// Why there is no lab of hypervisors, or what went wrong in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// Namespaces, mounts and network devices are root's to make.
    #[error("the lab of hypervisors needs root, for namespaces and mounts: run the tests as root")]
    NotRoot,
    /// A program is not there.
    #[error("a program of the lab is missing; `cargo xtask setup` installs {package}")]
    Tool {
        /// The Debian package that has it.
        package: &'static str,
        /// What is missing.
        source: ProgramNotFound,
    },
    /// A part of libvirt is not there.
    #[error("{} is not there: `cargo xtask setup` installs libvirt-daemon-system", path.display())]
    NoLibvirt {
        /// The directory that the package brings.
        path: PathBuf,
    },
    /// A program did not run to its end.
    #[error("a program of the lab did not run to its end")]
    Run {
        /// The reason.
        source: RunError,
    },
    /// A program failed.
    #[error("`{command}` failed with exit code {code}: {message}")]
    Failed {
        /// Its command line.
        command: String,
        /// Its exit code.
        code: i32,
        /// What it said.
        message: String,
    },
    /// The namespaces of a host could not be made, or are gone.
    #[error("the namespaces of host {host} are not there: {message}")]
    Namespaces {
        /// The host's name.
        host: String,
        /// What was said last.
        message: String,
    },
    /// A process of the lab ended by itself.
    #[error("{what} ended; it said:\n{log}")]
    Ended {
        /// The process.
        what: String,
        /// The end of its log.
        log: String,
    },
    /// Something did not come to pass in time.
    #[error("{what} did not happen within {after:?}:\n{log}")]
    Late {
        /// What was awaited.
        what: String,
        /// For how long.
        after: Duration,
        /// What is known of it.
        log: String,
    },
    /// The host runs no such domain.
    #[error("host {host} runs no domain {domain}")]
    NoDomain {
        /// The host's name.
        host: String,
        /// The domain's name.
        domain: String,
    },
    /// A capture in which there is nothing, or not all, proves nothing.
    #[error("the capture of {interface} proves nothing: {packets} packets in it, {lost} lost")]
    Capture {
        /// The network interface.
        interface: String,
        /// How many packets it has.
        packets: u64,
        /// How many the kernel dropped because the capture was slow.
        lost: u64,
    },
    /// A command that the guest cannot be told.
    #[error("a guest takes one line of at most {limit} bytes: {command:?}")]
    Command {
        /// The longest line, in bytes.
        limit: usize,
        /// The command.
        command: String,
    },
    /// The guest's answer is not what was asked for.
    #[error("the guest answered {code} to {command:?}: {output}")]
    Answer {
        /// The command.
        command: String,
        /// Its exit code in the guest.
        code: i32,
        /// What it printed.
        output: String,
    },
    /// Nothing was looked for, or there was nothing to look into.
    #[error("the search would prove nothing: {what}")]
    Search {
        /// What is missing.
        what: String,
    },
    /// The guest's kernel, system or root is not there.
    #[error("no image for guests")]
    Image {
        /// The reason.
        source: GuestError,
    },
    /// A file could not be read or written.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl LabError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

impl From<GuestError> for LabError {
    fn from(source: GuestError) -> Self {
        match source {
            GuestError::Tool { package, source } => Self::Tool { package, source },
            source => Self::Image { source },
        }
    }
}
