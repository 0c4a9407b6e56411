use strongroom_exec::{CommandSpec, Completed, Program};
use strongroom_types::GuestSize;

use crate::answer::done;
use crate::command::{Command, CommandLine, Condition, Steps};
use crate::node::Node;
use crate::{Image, Operation, Preallocation, Protects, QemuImgError, Refusal};

/// `qemu-img resize`: gives an image another size, which is what the guest then sees, exactly.
///
/// An encrypted image is described with its key, so that a header is never taken for content. What is added reads as
/// zeros, but on raw LUKS as noise. A block device is not made larger by this: enlarge it first.
///
/// A plain overlay over an encrypted base has no other size: to hide what the base has in the last, partly used cluster, QEMU
/// would copy the rest of that cluster up, in clear.
#[derive(Debug, Clone)]
pub struct Resize<'k> {
    node: Node<'k>,
    size: GuestSize,
    shrink: bool,
    preallocation: Option<Preallocation>,
}

impl<'k> Resize<'k> {
    /// Makes the image larger. One that is larger already is refused.
    #[must_use]
    pub fn grow<S: Protects<S>>(image: &Image<'k, S>, size: GuestSize) -> Self {
        Self {
            node: image.node.clone(),
            size,
            shrink: false,
            preallocation: None,
        }
    }

    /// Makes the image smaller, or larger: whatever lies behind the new end is lost.
    #[must_use]
    pub fn cut<S: Protects<S>>(image: &Image<'k, S>, size: GuestSize) -> Self {
        Self {
            node: image.node.clone(),
            size,
            shrink: true,
            preallocation: None,
        }
    }

    /// The same with space for the new part taken at once.
    #[must_use]
    pub fn preallocation(mut self, preallocation: Preallocation) -> Self {
        self.preallocation = Some(preallocation);
        self
    }
}

impl<'k> Steps<'k> for Resize<'k> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        vec![Condition::described(&self.node)]
    }
}

impl<'k> Command<'k> for Resize<'k> {
    type Answer = ();

    fn operation(&self) -> Operation {
        Operation::Resize
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let mut line = CommandLine::new(Operation::Resize);
        line.option("-q");
        if self.shrink {
            line.option("--shrink");
        }
        if let Some(preallocation) = self.preallocation {
            line.option(format!("--preallocation={}", preallocation.as_str()));
        }
        line.image(self.node.writable()?)?;
        line.operand(self.size.get().to_string());
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<(), QemuImgError> {
        let shrinks = "Use the --shrink option to perform a shrink operation.";
        if completed.code != 0 && String::from_utf8_lossy(&completed.stderr).contains(shrinks) {
            return Err(Refusal::WouldShrink {
                path: self.node.path().to_owned(),
            }
            .into());
        }
        done(Operation::Resize, completed)
    }
}
