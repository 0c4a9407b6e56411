use std::fmt;

use strongroom_exec::{CommandSpec, Completed, Program};

use crate::answer::done;
use crate::command::{Command, CommandLine, Steps};
use crate::node::Node;
use crate::{Image, Operation, QemuImgError, Refusal, Side};

/// The name of a persistent bitmap.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BitmapName(String);

impl BitmapName {
    /// The longest name in bytes (`docs/interop/qcow2` of QEMU).
    pub const LONGEST: usize = 1023;

    /// This name.
    ///
    /// # Errors
    /// [`Refusal::Name`] when it is empty, longer than 1023 bytes, or has control characters.
    pub fn new(name: impl Into<String>) -> Result<Self, Refusal> {
        let name = name.into();
        let why = if name.is_empty() {
            "it is empty"
        } else if name.len() > Self::LONGEST {
            "it is longer than 1023 bytes"
        } else if name.chars().any(char::is_control) {
            "it has control characters"
        } else {
            return Ok(Self(name));
        };
        Err(Refusal::Name {
            name: name.chars().take(Self::LONGEST).collect(),
            of: "bitmap",
            why,
        })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BitmapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[derive(Debug, Clone)]
enum Action {
    Add { granularity: Option<u32> },
    Remove,
    Clear,
    Enable,
    Disable,
    Merge(BitmapName),
}

/// `qemu-img bitmap`: persistent bitmaps of qcow2 images, which record what was written since they were made.
///
/// They are listed by [`Info`](crate::Info). Their names and which parts were written are not encrypted.
#[derive(Debug, Clone)]
pub struct Bitmap<'k> {
    node: Node<'k>,
    name: BitmapName,
    action: Action,
}

impl<'k> Bitmap<'k> {
    fn new<S: Side>(image: &Image<'k, S>, name: &BitmapName, action: Action) -> Self {
        Self {
            node: image.node.clone(),
            name: name.clone(),
            action,
        }
    }

    /// Makes a bitmap that records writes from now on.
    #[must_use]
    pub fn add<S: Side>(image: &Image<'k, S>, name: &BitmapName) -> Self {
        Self::new(image, name, Action::Add { granularity: None })
    }

    /// The same with one bit for this many bytes, a power of two from 512 to 2 GiB.
    #[must_use]
    pub fn add_granular<S: Side>(image: &Image<'k, S>, name: &BitmapName, granularity: u32) -> Self {
        Self::new(
            image,
            name,
            Action::Add {
                granularity: Some(granularity),
            },
        )
    }

    /// Removes a bitmap.
    #[must_use]
    pub fn remove<S: Side>(image: &Image<'k, S>, name: &BitmapName) -> Self {
        Self::new(image, name, Action::Remove)
    }

    /// Forgets what a bitmap has recorded.
    #[must_use]
    pub fn clear<S: Side>(image: &Image<'k, S>, name: &BitmapName) -> Self {
        Self::new(image, name, Action::Clear)
    }

    /// Lets a bitmap record writes.
    #[must_use]
    pub fn enable<S: Side>(image: &Image<'k, S>, name: &BitmapName) -> Self {
        Self::new(image, name, Action::Enable)
    }

    /// Stops a bitmap from recording writes.
    #[must_use]
    pub fn disable<S: Side>(image: &Image<'k, S>, name: &BitmapName) -> Self {
        Self::new(image, name, Action::Disable)
    }

    /// Adds to a bitmap what another one of the same image has recorded.
    #[must_use]
    pub fn merge<S: Side>(image: &Image<'k, S>, from: &BitmapName, into: &BitmapName) -> Self {
        Self::new(image, into, Action::Merge(from.clone()))
    }
}

impl<'k> Steps<'k> for Bitmap<'k> {}

impl<'k> Command<'k> for Bitmap<'k> {
    type Answer = ();

    fn operation(&self) -> Operation {
        Operation::Bitmap
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let mut line = CommandLine::new(Operation::Bitmap);
        match &self.action {
            Action::Add { granularity } => {
                line.option("--add");
                if let Some(granularity) = granularity {
                    if !granularity.is_power_of_two() || *granularity < 512 {
                        let problem = format!(
                            "is {granularity} bytes, and must be a power of two from 512 to 2147483648"
                        );
                        return Err(Refusal::Option {
                            option: "the granularity of a bitmap",
                            problem,
                        });
                    }
                    line.pair("-g", granularity.to_string());
                }
            }
            Action::Remove => line.option("--remove"),
            Action::Clear => line.option("--clear"),
            Action::Enable => line.option("--enable"),
            Action::Disable => line.option("--disable"),
            Action::Merge(from) => line.pair("--merge", from.as_str()),
        }
        line.image(self.node.qcow2("bitmaps")?.writable()?)?;
        line.operand(self.name.as_str());
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<(), QemuImgError> {
        done(Operation::Bitmap, completed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for name in ["b0", "-b", "a,b", "12"] {
            assert_eq!(BitmapName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "a\nb", &"n".repeat(BitmapName::LONGEST + 1)] {
            assert!(
                matches!(BitmapName::new(name), Err(Refusal::Name { .. })),
                "{name:.5}"
            );
        }
    }
}
