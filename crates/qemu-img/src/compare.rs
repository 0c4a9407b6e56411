use strongroom_exec::{CommandSpec, Completed, Program};

use crate::command::{Command, CommandLine, Condition, Steps};
use crate::diagnosis::diagnose;
use crate::node::{Name, Node};
use crate::{Image, Operation, QemuImgError, Refusal, Side};

/// `qemu-img compare`: whether a guest would see the same in two images, each with its own key.
#[derive(Debug, Clone)]
pub struct Compare<'k> {
    first: Node<'k>,
    second: Node<'k>,
    strict: bool,
}

impl<'k> Compare<'k> {
    /// Compares these two. When their sizes differ, what the longer one has more must be zeros.
    #[must_use]
    pub fn new<A: Side, B: Side>(first: &Image<'k, A>, second: &Image<'k, B>) -> Self {
        Self {
            first: first.node.clone(),
            second: second.node.clone(),
            strict: false,
        }
    }

    /// The same, and the sizes and what is allocated must be equal too.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// The same (exit code 0).
    Identical,
    /// Not the same (exit code 1).
    Different {
        /// The first byte of the part in which they differ, when the content differs and the tool says where.
        at: Option<u64>,
    },
}

impl<'k> Steps<'k> for Compare<'k> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        vec![
            Condition::described(&self.first),
            Condition::described(&self.second),
        ]
    }

    fn tells_progress(&self) -> bool {
        true
    }
}

impl<'k> Command<'k> for Compare<'k> {
    type Answer = Comparison;

    fn operation(&self) -> Operation {
        Operation::Compare
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let mut line = CommandLine::new(Operation::Compare);
        line.option("-p");
        if self.strict {
            line.option("-s");
        }
        // One switch says for both how they are named.
        let names = (
            self.first.name(&mut line.secrets)?,
            self.second.name(&mut line.secrets)?,
        );
        if let (Name::Flags(first_format, first), Name::Flags(second_format, second)) = names {
            line.pair("-f", first_format);
            line.pair("-F", second_format);
            line.operand(first);
            line.operand(second);
        } else {
            line.secrets = crate::SecretObjects::new();
            let first = self.first.options(&mut line.secrets)?;
            let second = self.second.options(&mut line.secrets)?;
            line.option("--image-opts");
            line.operand(first);
            line.operand(second);
        }
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<Comparison, QemuImgError> {
        match completed.code {
            0 => Ok(Comparison::Identical),
            // Also the code of a command line that it does not take; it then prints no result.
            1 if !completed.stdout.is_empty() => Ok(Comparison::Different {
                at: mismatch(&completed.stdout),
            }),
            _ => Err(diagnose(Operation::Compare, completed)),
        }
    }
}

fn mismatch(stdout: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(stdout);
    let (_, rest) = text.split_once("Content mismatch at offset ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
