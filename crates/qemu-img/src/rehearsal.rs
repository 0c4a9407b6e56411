use std::fs::File;
use std::io::{Error, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use strongroom_exec::{CommandSpec, Completed, DESCRIPTOR_BASE, Program, Runner};
use strongroom_types::{Call, SECTOR};

use crate::answer::done;
use crate::command::{Command, CommandLine, Steps};
use crate::map::Map;
use crate::node::Node;
use crate::{Amend, Operation, QemuImg, QemuImgError, Refusal};

impl<R: Runner> QemuImg<R> {
    /// Makes a change of keys on a stage, and opens what came out with the key of the description.
    pub(crate) fn rehearse(&self, change: &Amend<'_>, call: &Call) -> Result<(), QemuImgError> {
        let path = change.node().path();
        let stage = Stage::under(change.node()).map_err(|source| QemuImgError::File {
            doing: "rehearse a change of the keys of",
            path: path.to_owned(),
            source,
        })?;
        self.run(&&stage, call)?;
        let rehearsed = change.staged(stage.scratch());
        self.run(&rehearsed, call)?;
        match self.run(&Map::first_sector(rehearsed.node()), call) {
            Err(QemuImgError::WrongKey { .. }) => Err(Refusal::KeyThatGoes {
                path: path.to_owned(),
            }
            .into()),
            opened => opened.map(drop),
        }
    }
}

/// A file in memory that becomes a qcow2 overlay over the bytes of an image: it takes what is written, and the image stays as
/// it is. It has no name, so that no keyslot that was removed is left behind in it.
#[derive(Debug)]
struct Stage {
    scratch: OwnedFd,
    length: u64,
}

impl Stage {
    fn under(node: &Node<'_>) -> Result<Self, Error> {
        let bytes = match node.location.limit() {
            Some(size) => size.get(),
            None => File::open(node.path())?.seek(SeekFrom::End(0))?,
        };
        let make = |flags| memfd_create("rehearsal", MemfdFlags::CLOEXEC | flags);
        // A kernel that does not know this seal (before Linux 6.3) refuses it.
        let made = match make(MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => make(MemfdFlags::empty()),
            made => made,
        };
        Ok(Self {
            scratch: made?,
            length: bytes.next_multiple_of(SECTOR),
        })
    }

    fn scratch(&self) -> BorrowedFd<'_> {
        self.scratch.as_fd()
    }
}

/// Where a command finds its scratch file, which is the first descriptor that it is passed.
pub(crate) fn scratch_path() -> String {
    format!("/proc/self/fd/{DESCRIPTOR_BASE}")
}

impl<'s> Steps<'s> for &'s Stage {}

impl<'s> Command<'s> for &'s Stage {
    type Answer = ();

    fn operation(&self) -> Operation {
        Operation::Create
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'s>, Refusal> {
        let mut line = CommandLine::new(Operation::Create);
        line.scratch = Some(self.scratch());
        line.option("-q");
        line.pair("-f", "qcow2");
        line.operand(scratch_path());
        line.operand(self.length.to_string());
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<(), QemuImgError> {
        done(Operation::Create, completed)
    }
}
