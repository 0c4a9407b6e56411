use strongroom_exec::{CommandSpec, Completed, Program};

use crate::answer::done;
use crate::command::{Command, CommandLine, Condition, Steps};
use crate::node::Node;
use crate::{Declassify, Image, Operation, QemuImgError, Refusal, Side};

/// `qemu-img rebase`: gives an overlay another base, or none.
///
/// The overlay is described with its present base, so that both are opened with their keys.
#[derive(Debug, Clone)]
pub struct Rebase<'k> {
    overlay: Node<'k>,
    to: To<'k>,
    declassify: Option<Declassify>,
}

#[derive(Debug, Clone)]
enum To<'k> {
    Nothing,
    Base(Node<'k>),
    Name(Node<'k>),
}

impl<'k> Rebase<'k> {
    /// Copies what the overlay has from below into it, so that it stands alone.
    #[must_use]
    pub fn flatten<S: Side>(overlay: &Image<'k, S>) -> Self {
        Self {
            overlay: overlay.node.clone(),
            to: To::Nothing,
            declassify: None,
        }
    }

    /// Puts the overlay over another base. What the guest sees does not change: where the bases differ, the difference is
    /// copied into the overlay.
    ///
    /// For a new base that needs a key or has a base itself, this leaves a name of the form `json:{}` in the header, with
    /// the name of a secret that exists in this command only. [`QemuImg::rebase`](crate::QemuImg::rebase) puts the plain
    /// name there afterwards; by other means follow up with [`Rebase::rename`].
    #[must_use]
    pub fn onto<S: Side, Base: Side>(overlay: &Image<'k, S>, base: &Image<'k, Base>) -> Self {
        Self {
            overlay: overlay.node.clone(),
            to: To::Base(base.node.clone()),
            declassify: None,
        }
    }

    /// Changes the name of the base in the header and nothing else (`-u`), for a base that was moved. If it is not the same
    /// content, what the guest sees becomes nonsense. The overlay needs no described base for this.
    #[must_use]
    pub fn rename<S: Side, Base: Side>(overlay: &Image<'k, S>, base: &Image<'k, Base>) -> Self {
        let mut overlay = overlay.node.clone();
        overlay.base = None;
        Self {
            overlay,
            to: To::Name(base.node.clone()),
            declassify: None,
        }
    }

    /// The same, even if content of an encrypted base is written in clear.
    #[must_use]
    pub fn declassify(mut self, leave: Declassify) -> Self {
        self.declassify = Some(leave);
        self
    }

    /// The command that puts the plain name into the header after this one, when this one does not.
    pub(crate) fn follow_up(&self) -> Option<Self> {
        match &self.to {
            To::Base(base) if needs_json(base) => {
                let overlay = Node {
                    base: None,
                    ..self.overlay.clone()
                };
                Some(Self {
                    overlay,
                    to: To::Name(base.clone()),
                    declassify: self.declassify.clone(),
                })
            }
            _ => None,
        }
    }

    fn guard(&self) -> Result<(), Refusal> {
        let new = match &self.to {
            To::Nothing => None,
            To::Base(base) | To::Name(base) => Some(base),
        };
        let old = self.overlay.base.as_deref();
        let exposed = [old, new].into_iter().flatten().find(|base| base.is_encrypted());
        match exposed {
            Some(base) if self.overlay.key.is_none() && self.declassify.is_none() => {
                Err(Refusal::Plaintext {
                    from: base.path().to_owned(),
                    to: self.overlay.path().to_owned(),
                })
            }
            _ => Ok(()),
        }
    }
}

/// A plain name is opened as its header says; only the long form can say more.
fn needs_json(base: &Node<'_>) -> bool {
    base.is_encrypted() || base.base.is_some()
}

impl<'k> Steps<'k> for Rebase<'k> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        match &self.to {
            To::Nothing => vec![Condition::described(&self.overlay)],
            To::Base(base) => vec![Condition::described(&self.overlay), Condition::described(base)],
            To::Name(base) => vec![Condition::described(base)],
        }
    }

    fn tells_progress(&self) -> bool {
        true
    }
}

impl<'k> Command<'k> for Rebase<'k> {
    type Answer = ();

    fn operation(&self) -> Operation {
        Operation::Rebase
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        self.guard()?;
        let overlay = self.overlay.qcow2("a backing file")?.writable()?;
        if overlay.base.is_none() && !matches!(self.to, To::Name(_)) {
            return Err(Refusal::NoBase {
                path: overlay.path().to_owned(),
            });
        }
        let mut line = CommandLine::new(Operation::Rebase);
        line.option("-p");
        line.image(overlay)?;
        match &self.to {
            To::Nothing => line.pair("-b", ""),
            To::Base(base) => {
                base.backing_name()?;
                let name = if needs_json(base) {
                    base.json(&mut line.secrets)?
                } else {
                    base.backing_name()?
                };
                line.pair("-b", name);
                line.pair("-F", base.format.as_str());
            }
            To::Name(base) => {
                line.option("-u");
                line.pair("-b", base.backing_name()?);
                line.pair("-F", base.format.as_str());
            }
        }
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<(), QemuImgError> {
        done(Operation::Rebase, completed)
    }
}
