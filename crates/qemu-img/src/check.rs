use serde::Deserialize;
use strongroom_exec::{CommandSpec, Completed, Program};

use crate::answer::parse;
use crate::command::{Command, CommandLine, Steps};
use crate::diagnosis::{diagnose, message};
use crate::node::Node;
use crate::{Image, Operation, QemuImgError, Refusal, Side};

/// What [`Check`] repairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repair {
    /// Clusters that nobody refers to.
    Leaks,
    /// Everything that it can. Wrong repairs of damaged tables lose data: have a copy.
    All,
}

/// `qemu-img check`: whether the tables of a qcow2 image agree with each other. It says nothing about the content.
#[derive(Debug, Clone)]
pub struct Check<'k> {
    node: Node<'k>,
    repair: Option<Repair>,
}

impl<'k> Check<'k> {
    /// Looks at this image. What lies below it is not looked at.
    #[must_use]
    pub fn of<S: Side>(image: &Image<'k, S>) -> Self {
        Self {
            node: image.node.clone(),
            repair: None,
        }
    }

    /// The same, and repairs what it finds.
    #[must_use]
    pub fn repair(mut self, repair: Repair) -> Self {
        self.repair = Some(repair);
        self
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The result in one word, after repairs.
    pub verdict: Verdict,
    /// Contradictions in the tables that remain.
    pub corruptions: u64,
    /// Clusters that nobody refers to and that remain so.
    pub leaks: u64,
    /// Contradictions that were repaired.
    pub corruptions_fixed: u64,
    /// Leaked clusters that were freed.
    pub leaks_fixed: u64,
    /// Errors that the check itself met, such as unreadable tables.
    pub check_errors: u64,
    /// Clusters that the image has room for.
    pub total_clusters: Option<u64>,
    /// Clusters that are in use.
    pub allocated_clusters: Option<u64>,
    /// Where the last used cluster ends in the file, in bytes.
    pub image_end_offset: Option<u64>,
}

/// The result of a check in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing is wrong (exit code 0).
    Clean,
    /// Space is lost, data is not (exit code 3).
    Leaks,
    /// The tables contradict each other (exit code 2).
    Corrupt,
    /// The check could not be finished (exit code 1 with a report).
    Unfinished,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Printed {
    check_errors: u64,
    #[serde(default)]
    corruptions: u64,
    #[serde(default)]
    leaks: u64,
    #[serde(default)]
    corruptions_fixed: u64,
    #[serde(default)]
    leaks_fixed: u64,
    total_clusters: Option<u64>,
    allocated_clusters: Option<u64>,
    image_end_offset: Option<u64>,
}

impl<'k> Steps<'k> for Check<'k> {}

impl<'k> Command<'k> for Check<'k> {
    type Answer = CheckReport;

    fn operation(&self) -> Operation {
        Operation::Check
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let mut line = CommandLine::new(Operation::Check);
        line.option("--output=json");
        if let Some(repair) = self.repair {
            self.node.writable()?;
            line.pair("-r", if repair == Repair::All { "all" } else { "leaks" });
        }
        line.image(&self.node)?;
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<CheckReport, QemuImgError> {
        let operation = Operation::Check;
        let verdict = match completed.code {
            0 => Verdict::Clean,
            2 => Verdict::Corrupt,
            3 => Verdict::Leaks,
            1 if !completed.stdout.is_empty() => Verdict::Unfinished,
            63 => {
                let message = message(&String::from_utf8_lossy(&completed.stderr));
                return Err(QemuImgError::Unsupported { operation, message });
            }
            _ => return Err(diagnose(operation, completed)),
        };
        let printed: Printed = parse(operation, &completed.stdout)?;
        Ok(CheckReport {
            verdict,
            corruptions: printed.corruptions,
            leaks: printed.leaks,
            corruptions_fixed: printed.corruptions_fixed,
            leaks_fixed: printed.leaks_fixed,
            check_errors: printed.check_errors,
            total_clusters: printed.total_clusters,
            allocated_clusters: printed.allocated_clusters,
            image_end_offset: printed.image_end_offset,
        })
    }
}
