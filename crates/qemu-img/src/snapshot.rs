use std::fmt;

use strongroom_exec::{CommandSpec, Completed, Program};

use crate::answer::done;
use crate::command::{Command, CommandLine, Condition, Layers, Steps};
use crate::node::Node;
use crate::{Image, Operation, QemuImgError, Refusal, Side};

/// The name of an internal snapshot.
///
/// QEMU cuts names off at 255 bytes without a word, accepts the empty one, and takes a name of digits for the number of
/// another snapshot: none of these is a name here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SnapshotName(String);

impl SnapshotName {
    /// The longest name in bytes.
    pub const LONGEST: usize = 255;

    /// This name.
    ///
    /// # Errors
    /// [`Refusal::Name`].
    pub fn new(name: impl Into<String>) -> Result<Self, Refusal> {
        let name = name.into();
        let why = if name.is_empty() {
            "it is empty"
        } else if name.len() > Self::LONGEST {
            "it is longer than 255 bytes, where QEMU cuts it off"
        } else if name.chars().any(char::is_control) {
            "it has control characters"
        } else if name.bytes().all(|b| b.is_ascii_digit()) {
            "digits only are the number of a snapshot"
        } else {
            return Ok(Self(name));
        };
        Err(Refusal::Name {
            name: name.chars().take(Self::LONGEST).collect(),
            of: "snapshot",
            why,
        })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Create,
    Apply,
    Delete,
}

/// `qemu-img snapshot`: internal snapshots of qcow2 images. They are listed by [`Info`](crate::Info), which needs no key.
///
/// QEMU allows several of one name. [`QemuImg`](crate::QemuImg) does not make a second one, and refuses to apply or delete a name
/// that is not there exactly once.
#[derive(Debug, Clone)]
pub struct Snapshot<'k> {
    node: Node<'k>,
    name: SnapshotName,
    action: Action,
}

impl<'k> Snapshot<'k> {
    /// Keeps the present content under this name.
    #[must_use]
    pub fn create<S: Side>(image: &Image<'k, S>, name: &SnapshotName) -> Self {
        Self {
            node: image.node.clone(),
            name: name.clone(),
            action: Action::Create,
        }
    }

    /// Gives the image the content of the snapshot again, and its size. What is there now is lost. QEMU does not do it
    /// while the image has bitmaps, recording or not: remove them first.
    #[must_use]
    pub fn apply<S: Side>(image: &Image<'k, S>, name: &SnapshotName) -> Self {
        Self {
            node: image.node.clone(),
            name: name.clone(),
            action: Action::Apply,
        }
    }

    /// Forgets the snapshot.
    #[must_use]
    pub fn delete<S: Side>(image: &Image<'k, S>, name: &SnapshotName) -> Self {
        Self {
            node: image.node.clone(),
            name: name.clone(),
            action: Action::Delete,
        }
    }
}

impl<'k> Steps<'k> for Snapshot<'k> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        let (layers, name) = (Layers(self.node.clone()), self.name.as_str().to_owned());
        vec![match self.action {
            Action::Create => Condition::NoSnapshot(layers, name),
            Action::Apply | Action::Delete => Condition::OneSnapshot(layers, name),
        }]
    }
}

impl<'k> Command<'k> for Snapshot<'k> {
    type Answer = ();

    fn operation(&self) -> Operation {
        Operation::Snapshot
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let mut line = CommandLine::new(Operation::Snapshot);
        line.option("-q");
        let action = match self.action {
            Action::Create => "-c",
            Action::Apply => "-a",
            Action::Delete => "-d",
        };
        line.pair(action, self.name.as_str());
        line.image(self.node.qcow2("snapshots")?.writable()?)?;
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<(), QemuImgError> {
        done(Operation::Snapshot, completed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_qemu_would_change_are_refused() {
        let long = "n".repeat(SnapshotName::LONGEST);
        for name in ["before", "-x", "a,b=c", "1a", "ü", &long] {
            assert_eq!(SnapshotName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "12", "a\nb", "a\0b", &format!("{long}n")] {
            assert!(
                matches!(SnapshotName::new(name), Err(Refusal::Name { .. })),
                "{name:?}"
            );
        }
    }
}
