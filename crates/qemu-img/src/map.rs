use serde::Deserialize;
use strongroom_exec::{CommandSpec, Completed, Program};
use strongroom_types::SECTOR;

use crate::answer::parsed;
use crate::command::{Command, CommandLine, Condition, Steps};
use crate::node::Node;
use crate::{Image, Operation, QemuImgError, Refusal, Side};

/// `qemu-img map`: which parts of an image hold data, and in which layer.
#[derive(Debug, Clone)]
pub struct Map<'k> {
    node: Node<'k>,
    range: Option<(u64, u64)>,
    content: bool,
}

impl<'k> Map<'k> {
    /// Of the whole image and what lies below it.
    #[must_use]
    pub fn of<S: Side>(image: &Image<'k, S>) -> Self {
        Self {
            node: image.node.clone(),
            range: None,
            content: true,
        }
    }

    /// The same for `length` bytes from `start` on.
    #[must_use]
    pub fn range(mut self, start: u64, length: u64) -> Self {
        self.range = Some((start, length));
        self
    }

    /// The least that needs the key, for nothing but opening: where the first sector lies.
    pub(crate) fn first_sector(node: &Node<'k>) -> Self {
        Self {
            node: node.clone(),
            range: Some((0, SECTOR)),
            content: false,
        }
    }
}

/// A part of an image that is the same throughout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Extent {
    /// Where it begins for the guest, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// 0 for the image itself, 1 for its backing file, and so on.
    pub depth: u64,
    /// Whether it reads as zeros.
    pub zero: bool,
    /// Whether there are bytes for it.
    pub data: bool,
    /// Where they lie in the file, when they lie there as the guest sees them.
    pub offset: Option<u64>,
}

impl<'k> Steps<'k> for Map<'k> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        if self.content {
            vec![Condition::described(&self.node)]
        } else {
            Vec::new()
        }
    }
}

impl<'k> Command<'k> for Map<'k> {
    type Answer = Vec<Extent>;

    fn operation(&self) -> Operation {
        if self.content {
            Operation::Map
        } else {
            Operation::Open
        }
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let mut line = CommandLine::new(self.operation());
        line.option("--output=json");
        if let Some((start, length)) = self.range {
            line.option(format!("--start-offset={start}"));
            line.option(format!("--max-length={length}"));
        }
        line.image(&self.node)?;
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<Vec<Extent>, QemuImgError> {
        parsed(self.operation(), completed)
    }
}
