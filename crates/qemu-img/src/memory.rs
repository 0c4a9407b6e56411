use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use rustix::io::Errno;
use strongroom_exec::{CommandSpec, Completed, DESCRIPTOR_BASE, Program};

use crate::answer::done;
use crate::command::{Command, CommandLine, Condition, Steps};
use crate::node::{Name, Node};
use crate::option_list::OptionList;
use crate::{Declassify, Image, Operation, Plain, Protects, QemuImgError, Refusal, Side};

/// How many requests are under way at a time. Each takes up to 2 MiB of the tool's memory, so more would cost more than they save.
const PARALLEL: &str = "4";

/// A part of the content of an image, in memory: a file without a name, which the kernel may swap out and nothing else writes
/// anywhere.
///
/// `S` is the side on which the image lies that the content comes from: what was encrypted goes back to encrypted images only. New
/// memory reads as zeros and takes no room.
#[derive(Debug)]
pub struct Memory<S: Side> {
    file: File,
    length: u64,
    side: PhantomData<S>,
}

impl<S: Side> Memory<S> {
    /// Zeros, `length` bytes of them.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn zeros(length: u64) -> io::Result<Self> {
        let make = |flags| memfd_create("content", MemfdFlags::CLOEXEC | flags);
        // A kernel that does not know this seal (before Linux 6.3) refuses it.
        let made = match make(MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => make(MemfdFlags::empty()),
            made => made,
        };
        let file = File::from(made?);
        file.set_len(length)?;
        Ok(Self {
            file,
            length,
            side: PhantomData,
        })
    }

    /// The bytes, in clear.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// How many there are.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Makes some of them zeros again.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn clear(&self, start: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, mode, start, length).map_err(io::Error::from)
    }

    /// As an image. Its descriptor is the first that a command passes.
    fn options() -> Result<std::ffi::OsString, Refusal> {
        let mut list = OptionList::default();
        list.push("driver", "raw");
        list.push("file.driver", "file");
        list.push("file.filename", format!("/proc/self/fd/{DESCRIPTOR_BASE}"));
        Ok(list.into_argument())
    }
}

/// Reads a part of the content of an image into memory, through its cipher and from what lies below it (`qemu-img convert`).
#[derive(Debug, Clone)]
pub struct Load<'k> {
    source: Node<'k>,
    memory: BorrowedFd<'k>,
}

impl<'k> Load<'k> {
    /// What a guest reads from `start` on, as much as the memory has, which must be zeros.
    #[must_use]
    pub fn new<S: Side>(source: &Image<'k, S>, start: u64, memory: &'k Memory<S>) -> Self {
        Self {
            source: source.node.part(start, memory.length),
            memory: memory.file.as_fd(),
        }
    }
}

impl<'k> Steps<'k> for Load<'k> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        vec![Condition::described(&self.source)]
    }
}

impl<'k> Command<'k> for Load<'k> {
    type Answer = ();

    fn operation(&self) -> Operation {
        Operation::Convert
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let mut line = CommandLine::new(Operation::Convert);
        line.option("-n");
        line.option("--target-is-zero");
        line.pair("-m", PARALLEL);
        line.option("-W");
        line.image(&self.source)?;
        line.scratch = Some(self.memory);
        line.option("--target-image-opts");
        line.operand(Memory::<Plain>::options()?);
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<(), QemuImgError> {
        done(Operation::Convert, completed)
    }
}

/// Writes what is in memory into an image that is there, through its cipher (`qemu-img convert`). What is around it stays as it was.
/// It is on stable storage when [`QemuImg::run`](crate::QemuImg::run) returns.
#[derive(Debug, Clone)]
pub struct Store<'k> {
    memory: BorrowedFd<'k>,
    target: Node<'k>,
    declassify: Option<Declassify>,
}

impl<'k> Store<'k> {
    /// All of the memory, to the place that begins at `start` for the guest.
    #[must_use]
    pub fn new<Content: Side, S: Protects<Content>>(
        memory: &'k Memory<Content>,
        target: &Image<'k, S>,
        start: u64,
    ) -> Self {
        Self {
            memory: memory.file.as_fd(),
            target: target.node.part(start, memory.length),
            declassify: None,
        }
    }

    /// The same in clear, whatever side the content comes from.
    #[must_use]
    pub fn declassifying<Content: Side>(
        memory: &'k Memory<Content>,
        target: &Image<'k, Plain>,
        start: u64,
        leave: Declassify,
    ) -> Self {
        Self {
            memory: memory.file.as_fd(),
            target: target.node.part(start, memory.length),
            declassify: Some(leave),
        }
    }

    /// The leave to write in clear, for the audit log.
    #[must_use]
    pub fn declassification(&self) -> Option<&Declassify> {
        self.declassify.as_ref()
    }
}

impl<'k> Steps<'k> for Store<'k> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        vec![Condition::described(&self.target)]
    }

    fn to_sync(&self) -> Option<&Path> {
        Some(self.target.path())
    }
}

impl<'k> Command<'k> for Store<'k> {
    type Answer = ();

    fn operation(&self) -> Operation {
        Operation::Convert
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let mut line = CommandLine::new(Operation::Convert);
        line.option("-n");
        line.pair("-t", "writeback");
        line.pair("-m", PARALLEL);
        line.option("-W");
        line.scratch = Some(self.memory);
        line.option("--image-opts");
        line.operand(Memory::<Plain>::options()?);
        let Name::Options(target) = self.target.writable()?.name(&mut line.secrets)? else {
            return Err(Refusal::FlagsCannotSay {
                path: self.target.path().to_owned(),
                what: "which part of it is meant",
            });
        };
        line.option("--target-image-opts");
        line.operand(target);
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<(), QemuImgError> {
        done(Operation::Convert, completed)
    }
}
