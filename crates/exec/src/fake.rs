//! Runners for the tests of whoever uses this crate. They start no process.
//!
//! [`RecordingRunner`] keeps what it was asked to run, [`ScriptedRunner`] expects certain commands in a certain order,
//! [`FailingRunner`] fails. Give the code under test a reference to one or an [`Arc`](std::sync::Arc) of it, and look at it
//! afterwards.
//!
//! ```
//! use strongroom_exec::fake::{Failure, ScriptedRunner, program};
//! use strongroom_exec::{CommandSpec, Completed, RunError, Runner, Watch};
//!
//! let script = ScriptedRunner::new()
//!     .on("lvs --noheadings vg", Completed::new(0, "  data\n", ""))
//!     .on("lvremove vg/data", Failure::Deadline);
//!
//! let lvs = CommandSpec::new(program("/sbin/lvs")).args(["--noheadings", "vg"]);
//! assert_eq!(script.run(&lvs, &Watch::nobody())?.stdout, b"  data\n");
//! let lvremove = CommandSpec::new(program("/sbin/lvremove")).arg("vg/data");
//! assert!(matches!(script.run(&lvremove, &Watch::nobody()), Err(RunError::Deadline { .. })));
//! script.finish()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An answer that is given here reaches those who watch the lines as it would from a process. Limits, deadlines and
//! cancellation are not looked at: what a run comes to is what the test says.

mod failing;
mod failure;
mod recording;
mod scripted;

use std::convert::Infallible;
use std::path::PathBuf;

pub use failing::FailingRunner;
pub use failure::Failure;
pub use recording::{RecordedCommand, RecordingRunner};
pub use scripted::{Answer, ScriptError, ScriptedRunner, UnexpectedCommand};

use crate::lines::Lines;
use crate::{Completed, Program, Watch};

/// A program that need not be installed.
#[must_use]
pub fn program(path: impl Into<PathBuf>) -> Program {
    Program::unchecked(path.into())
}

/// An answer, its lines first.
fn answer(done: Completed, watch: &Watch<'_>) -> Completed {
    let each = |line: &[u8]| {
        watch.line(line);
        Ok::<(), Infallible>(())
    };
    let mut lines = Lines::default();
    let Ok(()) = lines.feed(&done.stdout, each);
    let Ok(()) = lines.finish(each);
    done
}
