use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strongroom_exec::{ProgramNotFound, RunError};

/// Why a guest was not booted, or how a test in it went wrong.
///
/// `output` is what the test printed in the guest, `console` what the guest's kernel said, the last 16 KiB of each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// The test failed in the guest: it panicked there. That is code 101; it may also have ended itself with another.
    #[error("the test failed in the guest (exit code {code}):\n{output}")]
    Failed {
        /// The exit code of the test program.
        code: i32,
        /// What the test printed.
        output: String,
    },
    /// The test program ended in the guest without having run the closure: the name of the thread is not that of a test,
    /// or the test booted no guest when it ran there.
    #[error("the guest ran no test named {test}; it said:\n{output}")]
    NotRun {
        /// The name that was asked for.
        test: String,
        /// What the test program printed.
        output: String,
    },
    /// The time was over and the guest was killed.
    #[error("the guest was killed after {after:?}; the test said:\n{output}\nthe kernel said:\n{console}")]
    Hung {
        /// The time it ran.
        after: Duration,
        /// What the test had printed by then.
        output: String,
        /// What the kernel had said by then.
        console: String,
    },
    /// The guest went down before the test had ended: its kernel panicked or met an oops, or somebody switched it off.
    #[error("the guest went down during the test; the kernel said:\n{console}\nthe test said:\n{output}")]
    Down {
        /// What the test had printed by then.
        output: String,
        /// What the kernel said.
        console: String,
    },
    /// The guest could not be made ready for the test.
    #[error("the guest could not be made ready: {what} failed; the kernel said:\n{console}")]
    NotReady {
        /// What failed: a module that did not load, or the test program that could not be read.
        what: String,
        /// What the kernel said.
        console: String,
    },
    /// A guest is booted by the test that runs in it, and this thread has not the name of a test.
    #[error("this thread is no test of the Rust test harness: call it in the thread of a #[test]")]
    NoTest,
    /// The test booted a guest before.
    #[error("this test has booted a guest already: a test boots one")]
    Twice,
    /// A program that the guest is to have, or that boots it, is not there.
    #[error("a program for the guest is missing; `cargo xtask setup` installs {package}")]
    Tool {
        /// The Debian package that has it, as far as that is known.
        package: &'static str,
        /// What is missing.
        source: ProgramNotFound,
    },
    /// No kernel for the guest.
    #[error(
        "no kernel for the guest in /boot with modules in /lib/modules: install the Debian package linux-image-cloud-amd64"
    )]
    NoKernel,
    /// The kernel has no such module.
    #[error("the guest's kernel has no module {name}, neither built in nor in modules.dep")]
    NoModule {
        /// Its name.
        name: String,
    },
    /// A disk cannot have that serial number.
    #[error(
        "{serial:?} is no serial number of a disk: 1 to 20 letters, digits, dots, dashes or underscores, and each disk has another"
    )]
    Serial {
        /// What was asked for.
        serial: String,
    },
    /// Something that the guest is to have is not there.
    #[error("not there: {what}")]
    Missing {
        /// What, and why.
        what: String,
    },
    /// The libraries of a program could not be listed.
    #[error("cannot list the libraries of {}", program.display())]
    Libraries {
        /// The program.
        program: PathBuf,
        /// The reason.
        source: RunError,
    },
    /// QEMU did not run the guest.
    #[error("qemu does not run the guest: exit code {code}: {message}")]
    Qemu {
        /// Its exit code.
        code: i32,
        /// What it said.
        message: String,
    },
    /// QEMU did not run to its end.
    #[error("qemu did not run to its end")]
    Run {
        /// The reason.
        source: RunError,
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

impl GuestError {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}
