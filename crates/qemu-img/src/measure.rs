use serde::Deserialize;
use strongroom_exec::{CommandSpec, Completed, Program};
use strongroom_types::GuestSize;

use crate::answer::parsed;
use crate::command::{Command, CommandLine, Condition, Steps};
use crate::node::Node;
use crate::{Image, Layout, Operation, QemuImgError, Refusal, Side};

/// `qemu-img measure`: how large the file of a new image would be.
///
/// For an encrypted layout QEMU wants a key and measures this machine as if it made the image: 2.6 s of CPU time or more.
/// For a raw LUKS disk [`strongroom_types::Geometry`] says the same at once.
#[derive(Debug, Clone)]
pub struct Measure<'k, S: Side> {
    what: What<'k>,
    layout: Layout<'k, S>,
}

#[derive(Debug, Clone)]
enum What<'k> {
    Size(GuestSize),
    Content(Node<'k>),
}

impl<'k, S: Side> Measure<'k, S> {
    /// For a new image of this size.
    #[must_use]
    pub fn size(size: GuestSize, layout: &Layout<'k, S>) -> Self {
        Self {
            what: What::Size(size),
            layout: layout.clone(),
        }
    }

    /// For a copy of this image.
    #[must_use]
    pub fn copy<Source: Side>(image: &Image<'k, Source>, layout: &Layout<'k, S>) -> Self {
        Self {
            what: What::Content(image.node.clone()),
            layout: layout.clone(),
        }
    }
}

/// File sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Measurement {
    /// The least that the file takes with the content that it has now.
    pub required: u64,
    /// What it takes when every sector is written.
    pub fully_allocated: u64,
    /// What copying the bitmaps would add.
    pub bitmaps: Option<u64>,
}

impl<'k, S: Side> Steps<'k> for Measure<'k, S> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        match &self.what {
            What::Size(_) => Vec::new(),
            What::Content(node) => vec![Condition::described(node)],
        }
    }
}

impl<'k, S: Side> Command<'k> for Measure<'k, S> {
    type Answer = Measurement;

    fn operation(&self) -> Operation {
        Operation::Measure
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let mut line = CommandLine::new(Operation::Measure);
        line.option("--output=json");
        line.pair("-O", self.layout.format().as_str());
        self.layout.write(&mut line)?;
        match &self.what {
            What::Size(size) => line.pair("--size", size.get().to_string()),
            What::Content(node) => line.image(node)?,
        }
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<Measurement, QemuImgError> {
        parsed(Operation::Measure, completed)
    }
}
