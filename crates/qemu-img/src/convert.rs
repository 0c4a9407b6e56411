use std::path::Path;

use strongroom_exec::{CommandSpec, Completed, Program};
use strongroom_types::ByteSize;

use crate::answer::done;
use crate::command::{Command, CommandLine, Condition, Layers, Steps};
use crate::location::checked;
use crate::node::{Name, Node};
use crate::option_list::OptionList;
use crate::target::Place;
use crate::{
    ConvertOptions, Declassify, Image, ImageFormat, Operation, Plain, Protects, QemuImgError, Refusal, Side,
    SnapshotName, Target,
};

/// `qemu-img convert`: copies what a guest sees in one image to another.
///
/// The copy has no base: whatever lies below the source is copied too. What is encrypted stays encrypted, because neither a
/// plain target for it compiles nor one that is a plain overlay over an encrypted base; [`Convert::declassifying`] is the one
/// way around.
///
/// A target that is there must be at least as large as the source. When it is larger, what lies behind the copy stays as
/// it was, and on a raw LUKS disk that is noise unless something was written there: see [`Convert::then_zeros`].
#[derive(Debug, Clone)]
pub struct Convert<'k, S: Side> {
    source: Node<'k>,
    snapshot: Option<SnapshotName>,
    zeros: Option<ByteSize>,
    part: Option<(u64, u64)>,
    target: Target<'k, S>,
    options: ConvertOptions,
    declassify: Option<Declassify>,
}

impl<'k, S: Side> Convert<'k, S> {
    /// A copy of `source` at `target`, with QEMU's own speed.
    #[must_use]
    pub fn new<Source: Side>(source: &Image<'k, Source>, target: impl Into<Target<'k, S>>) -> Self
    where
        S: Protects<Source>,
    {
        Self::between(source.node.clone(), target.into(), None)
    }

    fn between(source: Node<'k>, target: Target<'k, S>, declassify: Option<Declassify>) -> Self {
        let options = ConvertOptions::default();
        Self {
            source,
            snapshot: None,
            zeros: None,
            part: None,
            target,
            options,
            declassify,
        }
    }

    /// The same, done in this way.
    #[must_use]
    pub fn options(mut self, options: ConvertOptions) -> Self {
        self.options = options;
        self
    }

    /// The same of an internal snapshot of the source.
    #[must_use]
    pub fn snapshot(mut self, name: &SnapshotName) -> Self {
        self.snapshot = Some(name.clone());
        self
    }

    /// Only this part of the content, to the same place in the target, which is there already: `length` bytes from `start` on.
    /// Whatever is around it in the target stays as it was.
    #[must_use]
    pub fn part(mut self, start: u64, length: u64) -> Self {
        self.source = self.source.part(start, length);
        self.part = Some((start, length));
        self
    }

    /// The same, followed by this many bytes of zeros: the difference between a larger target and the source.
    ///
    /// On raw LUKS it takes as long as copying that much data. Not needed for a target that the copy makes, nor for a new
    /// qcow2 image.
    #[must_use]
    pub fn then_zeros(mut self, length: ByteSize) -> Self {
        self.zeros = (length.get() > 0).then_some(length);
        self
    }

    /// The leave to write in clear, for the audit log.
    #[must_use]
    pub fn declassification(&self) -> Option<&Declassify> {
        self.declassify.as_ref()
    }

    /// The same with what depends on the target's file system decided.
    pub(crate) fn decided(&self) -> Self {
        Self {
            options: self.options.decided(self.target.path()),
            ..self.clone()
        }
    }

    fn write_source(&self, line: &mut CommandLine<'k>) -> Result<(), Refusal> {
        if let Some(name) = &self.snapshot {
            self.source.qcow2("snapshots")?;
            let mut list = OptionList::default();
            list.push("snapshot.name", name.as_str());
            line.pair("-l", list.into_argument());
        }
        let Some(zeros) = self.zeros else {
            return line.image(&self.source);
        };
        let options = self.source.options(&mut line.secrets)?;
        line.option("--image-opts");
        line.operand(options);
        let mut list = OptionList::default();
        list.push("driver", "null-co");
        list.push("size", zeros.get().to_string());
        list.push("read-zeroes", "on");
        line.operand(list.into_argument());
        Ok(())
    }

    fn write_target(&self, line: &mut CommandLine<'k>) -> Result<(), Refusal> {
        match &self.target.0 {
            Place::Existing(node) => {
                if self.options.says_target_is_zero() && node.format == ImageFormat::Luks {
                    let why = "what was never written to raw LUKS reads as noise";
                    return Err(Refusal::NotZero {
                        path: node.path().to_owned(),
                        why,
                    });
                }
                line.option("-n");
                let node = match self.part {
                    None => node.clone(),
                    Some((start, length)) => node.part(start, length),
                };
                match node.writable()?.name(&mut line.secrets)? {
                    Name::Flags(format, path) => {
                        line.pair("-O", format);
                        line.operand(path);
                    }
                    Name::Options(options) => {
                        line.option("--target-image-opts");
                        line.operand(options);
                    }
                }
            }
            Place::New(image) => {
                let path = checked(&image.path)?;
                if self.part.is_some() {
                    return Err(Refusal::PartOfNew { path: path.into() });
                }
                if image.base.is_some() {
                    return Err(Refusal::CopyWithBase { path: path.into() });
                }
                if self.options.says_target_is_zero() {
                    return Err(Refusal::NotZero {
                        path: path.into(),
                        why: "it is not there yet",
                    });
                }
                line.pair("-O", image.layout.format().as_str());
                image.layout.write(line)?;
                line.operand(path);
            }
        }
        Ok(())
    }
}

impl<'k> Convert<'k, Plain> {
    /// A copy in clear of what is encrypted.
    #[must_use]
    pub fn declassifying<Source: Side>(
        source: &Image<'k, Source>,
        target: impl Into<Target<'k, Plain>>,
        leave: Declassify,
    ) -> Self {
        Self::between(source.node.clone(), target.into(), Some(leave))
    }
}

impl<'k, S: Side> Steps<'k> for Convert<'k, S> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        let mut all = vec![Condition::described(&self.source)];
        if let Some(name) = &self.snapshot {
            all.push(Condition::OneSnapshot(
                Layers(self.source.clone()),
                name.as_str().to_owned(),
            ));
        }
        all.push(match &self.target.0 {
            Place::Existing(node) => Condition::described(node),
            Place::New(image) => Condition::Absent(image.path.clone()),
        });
        all
    }

    fn tells_progress(&self) -> bool {
        true
    }

    fn to_sync(&self) -> Option<&Path> {
        Some(self.target.path())
    }
}

impl<'k, S: Side> Command<'k> for Convert<'k, S> {
    type Answer = ();

    fn operation(&self) -> Operation {
        Operation::Convert
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let mut line = CommandLine::new(Operation::Convert);
        line.option("-p");
        for argument in self.options.arguments() {
            line.option(argument);
        }
        self.write_source(&mut line)?;
        self.write_target(&mut line)?;
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<(), QemuImgError> {
        done(Operation::Convert, completed)
    }
}
