use strongroom_exec::{CommandSpec, Completed, Program};

use crate::answer::done;
use crate::command::{Command, CommandLine, Condition, Steps};
use crate::node::Node;
use crate::{Declassify, Image, Operation, QemuImgError, Refusal, Side};

/// `qemu-img commit`: writes what an overlay has to the image right below it, which grows if it is smaller.
///
/// The overlay is described with its base, and both are opened with their keys. The base is no longer what it was for
/// any other overlay over it.
#[derive(Debug, Clone)]
pub struct Commit<'k> {
    overlay: Node<'k>,
    keep: bool,
    declassify: Option<Declassify>,
}

impl<'k> Commit<'k> {
    /// Writes the overlay to its base and empties the overlay.
    #[must_use]
    pub fn of<S: Side>(overlay: &Image<'k, S>) -> Self {
        Self {
            overlay: overlay.node.clone(),
            keep: false,
            declassify: None,
        }
    }

    /// The same, and the overlay stays as it is, which is faster when it is deleted anyway.
    #[must_use]
    pub fn keep_overlay(mut self) -> Self {
        self.keep = true;
        self
    }

    /// The same, even if the overlay is encrypted and its base is not, or the base is a plain overlay over an encrypted one.
    #[must_use]
    pub fn declassify(mut self, leave: Declassify) -> Self {
        self.declassify = Some(leave);
        self
    }
}

impl<'k> Steps<'k> for Commit<'k> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        vec![Condition::described(&self.overlay)]
    }

    fn tells_progress(&self) -> bool {
        true
    }
}

impl<'k> Command<'k> for Commit<'k> {
    type Answer = ();

    fn operation(&self) -> Operation {
        Operation::Commit
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let overlay = self.overlay.qcow2("a backing file")?.writable()?;
        let path = overlay.path();
        let base = overlay.base.as_deref().ok_or_else(|| Refusal::NoBase {
            path: path.to_owned(),
        })?;
        base.writable()?;
        let from = if overlay.key.is_some() {
            Some(overlay)
        } else {
            // What fills up a cluster of which only a part is written comes from below the base.
            Some(base).filter(|base| base.is_encrypted())
        };
        if let (Some(from), None, None) = (from, base.key, &self.declassify) {
            return Err(Refusal::Plaintext {
                from: from.path().to_owned(),
                to: base.path().to_owned(),
            });
        }
        let mut line = CommandLine::new(Operation::Commit);
        line.option("-p");
        if self.keep {
            line.option("-d");
        }
        line.image(overlay)?;
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<(), QemuImgError> {
        done(Operation::Commit, completed)
    }
}
