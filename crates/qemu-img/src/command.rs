use std::ffi::OsString;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use strongroom_exec::{CommandSpec, Completed, Program};

use crate::node::{Name, Node};
use crate::{Amend, QemuImgError, Refusal, SecretObjects};

/// A sub-command of `qemu-img`, or what is done with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the sub-command of its name")]
pub enum Operation {
    Create,
    Info,
    Measure,
    Check,
    Map,
    Compare,
    Convert,
    Resize,
    Snapshot,
    Rebase,
    Commit,
    Amend,
    Bitmap,
    /// `map` of the first sector, by which an image is opened with its key to see whether it fits.
    Open,
}

impl Operation {
    /// The word that follows `qemu-img`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Info => "info",
            Self::Measure => "measure",
            Self::Check => "check",
            Self::Map | Self::Open => "map",
            Self::Compare => "compare",
            Self::Convert => "convert",
            Self::Resize => "resize",
            Self::Snapshot => "snapshot",
            Self::Rebase => "rebase",
            Self::Commit => "commit",
            Self::Amend => "amend",
            Self::Bitmap => "bitmap",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Self::Open {
            "open"
        } else {
            self.as_str()
        })
    }
}

/// One run of `qemu-img`: what to run, what must hold before, and what its answer means.
///
/// [`QemuImg::run`](crate::QemuImg::run) does all of it. [`Command::spec`] alone is pure: it touches nothing, and the
/// result can be compared, printed or run by other means.
pub trait Command<'k>: Steps<'k> {
    /// What `qemu-img` answers.
    type Answer;

    /// Which sub-command it is.
    fn operation(&self) -> Operation;

    /// The command line.
    ///
    /// # Errors
    /// [`Refusal`] when it would do harm whatever is on the disk, or cannot be said.
    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal>;

    /// The answer in what `qemu-img` printed, by its exit code first.
    ///
    /// # Errors
    /// [`QemuImgError`] when the exit code says failure or the answer cannot be read.
    fn answer(&self, completed: &Completed) -> Result<Self::Answer, QemuImgError>;
}

/// What [`QemuImg::run`](crate::QemuImg::run) does before and after. It has no public name, so that no command is made
/// elsewhere.
pub trait Steps<'k> {
    /// What it makes sure of before.
    fn conditions(&self) -> Vec<Condition<'k>> {
        Vec::new()
    }

    /// Whether the command says how far it is.
    fn tells_progress(&self) -> bool {
        false
    }

    /// Which images have to open with their keys after it.
    fn to_prove(&self) -> Vec<Layers<'k>> {
        Vec::new()
    }

    /// What has to be on stable storage after it.
    fn to_sync(&self) -> Option<&Path> {
        None
    }
}

/// What must hold before a command runs.
#[derive(Debug)]
pub enum Condition<'k> {
    /// The description of every layer is that of its header.
    Described(Layers<'k>),
    /// Nothing is there.
    Absent(PathBuf),
    /// The image has no snapshot of this name.
    NoSnapshot(Layers<'k>, String),
    /// The image has exactly one snapshot of this name.
    OneSnapshot(Layers<'k>, String),
    /// The key of the description opens the image after this change, too.
    KeyStays(Amend<'k>),
}

/// An image with what lies below it.
#[derive(Debug, Clone)]
pub struct Layers<'k>(pub(crate) Node<'k>);

impl<'k> Condition<'k> {
    pub(crate) fn described(node: &Node<'k>) -> Self {
        Self::Described(Layers(node.clone()))
    }
}

/// A command line in the making: the keys are put before everything else, and `--` before the operands, so that no
/// operand is taken for an option.
#[derive(Debug)]
pub(crate) struct CommandLine<'k> {
    operation: Operation,
    pub(crate) scratch: Option<BorrowedFd<'k>>,
    pub(crate) secrets: SecretObjects<'k>,
    options: Vec<OsString>,
    operands: Vec<OsString>,
}

impl<'k> CommandLine<'k> {
    pub(crate) fn new(operation: Operation) -> Self {
        Self {
            operation,
            scratch: None,
            secrets: SecretObjects::new(),
            options: Vec::new(),
            operands: Vec::new(),
        }
    }

    pub(crate) fn option(&mut self, option: impl Into<OsString>) {
        self.options.push(option.into());
    }

    pub(crate) fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.option(option);
        self.option(value);
    }

    pub(crate) fn operand(&mut self, operand: impl Into<OsString>) {
        self.operands.push(operand.into());
    }

    /// Names the one image that the command works on.
    pub(crate) fn image(&mut self, node: &Node<'k>) -> Result<(), Refusal> {
        self.scratch = node.scratch;
        match node.name(&mut self.secrets)? {
            Name::Flags(format, path) => {
                self.pair("-f", format);
                self.operand(path);
            }
            Name::Options(options) => {
                self.option("--image-opts");
                self.operand(options);
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self, program: &Program) -> CommandSpec<'k> {
        let mut spec = CommandSpec::new(program.clone()).arg(self.operation.as_str());
        if let Some(scratch) = self.scratch {
            spec.pass(scratch);
        }
        for secret in self.secrets.iter() {
            let object = secret.argument(&mut spec);
            spec.push("--object");
            spec.push(object);
        }
        spec.args(self.options).arg("--").args(self.operands)
    }
}
