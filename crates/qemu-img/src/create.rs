use strongroom_exec::{CommandSpec, Completed, Program};
use strongroom_types::GuestSize;

use crate::answer::done;
use crate::command::{Command, CommandLine, Condition, Steps};
use crate::location::checked;
use crate::{NewImage, Operation, QemuImgError, Refusal, Side};

/// `qemu-img create`: makes an image.
///
/// [`QemuImg`](crate::QemuImg) refuses a path where something is, and a base that is not as described. Afterwards the file is
/// complete but not yet on stable storage: sync it when you give it its name.
#[derive(Debug, Clone)]
pub struct Create<'k, S: Side> {
    image: NewImage<'k, S>,
    size: Option<GuestSize>,
}

impl<'k, S: Side> Create<'k, S> {
    /// Makes the image so that a guest sees exactly this size.
    #[must_use]
    pub fn sized(image: &NewImage<'k, S>, size: GuestSize) -> Self {
        Self {
            image: image.clone(),
            size: Some(size),
        }
    }

    /// Makes an overlay of the size of its base.
    #[must_use]
    pub fn like_base(image: &NewImage<'k, S>) -> Self {
        Self {
            image: image.clone(),
            size: None,
        }
    }
}

impl<'k, S: Side> Steps<'k> for Create<'k, S> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        let mut all = vec![Condition::Absent(self.image.path.clone())];
        all.extend(self.image.base.iter().map(Condition::described));
        all
    }
}

impl<'k, S: Side> Command<'k> for Create<'k, S> {
    type Answer = ();

    fn operation(&self) -> Operation {
        Operation::Create
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let path = checked(&self.image.path)?;
        let format = self.image.layout.format();
        let mut line = CommandLine::new(Operation::Create);
        line.option("-q");
        line.pair("-f", format.as_str());
        self.image.layout.write(&mut line)?;
        if let Some(base) = &self.image.base {
            self.image.image().node.qcow2("a backing file")?;
            line.pair("-b", base.backing_name()?);
            line.pair("-F", base.format.as_str());
        }
        line.operand(path);
        match (self.size, &self.image.base) {
            (Some(size), _) => line.operand(size.get().to_string()),
            (None, Some(_)) => {}
            (None, None) => {
                return Err(Refusal::NoSize {
                    path: self.image.path.clone(),
                });
            }
        }
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<(), QemuImgError> {
        done(Operation::Create, completed)
    }
}
