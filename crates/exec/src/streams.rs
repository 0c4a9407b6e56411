use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{ChildStderr, ChildStdout};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use strongroom_types::Interrupted;

use crate::capture::{Ends, TooMuch, Whole};
use crate::child::Running;
use crate::limits::Limits;
use crate::lines::Lines;

/// How much is read at once: what a pipe holds by default.
const CHUNK: usize = 64 << 10;

/// Both outputs of a child: the pipes, and what came out of them.
pub(crate) struct Streams<'w> {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    out: Whole,
    err: Ends,
    lines: Lines,
    limits: &'w Limits<'w>,
    buffer: Vec<u8>,
}

/// Why nothing more is read.
pub(crate) enum Stop {
    Interrupted(Interrupted),
    TooMuch,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<Interrupted> for Stop {
    fn from(why: Interrupted) -> Self {
        Self::Interrupted(why)
    }
}

impl From<TooMuch> for Stop {
    fn from(_: TooMuch) -> Self {
        Self::TooMuch
    }
}

impl<'w> Streams<'w> {
    pub(crate) fn new(
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
        limit: usize,
        limits: &'w Limits<'w>,
    ) -> Self {
        Self {
            stdout,
            stderr,
            out: Whole::new(limit),
            err: Ends::default(),
            lines: Lines::default(),
            limits,
            buffer: vec![0; CHUNK],
        }
    }

    /// Waits until there is output, the child has ended or the time is over, and reads what there is, at most one chunk of
    /// each. Says whether the child has ended.
    pub(crate) fn wait(&mut self, running: &Running, time: Option<&Timespec>) -> Result<bool, Stop> {
        let mut watched = vec![PollFd::from_borrowed_fd(running.ended(), PollFlags::IN)];
        watched.extend(self.stdout.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        watched.extend(self.stderr.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut watched, time) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(e) => return Err(Stop::Io(e.into())),
        }
        let mut ready = watched.iter().map(|fd| !fd.revents().is_empty());
        let ended = ready.next().unwrap_or(false);
        let out = self.stdout.is_some() && ready.next().unwrap_or(false);
        let err = self.stderr.is_some() && ready.next().unwrap_or(false);
        if out {
            self.read_stdout(CHUNK)?;
        }
        if err {
            self.read_stderr(CHUNK)?;
        }
        Ok(ended)
    }

    /// Reads what is in the pipes now and gives both outputs. It does not wait for their end: somebody who left the child's
    /// group may hold them open.
    pub(crate) fn finish(mut self) -> Result<(Vec<u8>, Vec<u8>), Stop> {
        let mut left = pending(self.stdout.as_ref())?;
        while left > 0 && self.stdout.is_some() {
            left -= self.read_stdout(left.min(CHUNK))?;
        }
        let mut left = pending(self.stderr.as_ref())?;
        while left > 0 && self.stderr.is_some() {
            left -= self.read_stderr(left.min(CHUNK))?;
        }
        if self.limits.want_lines() {
            self.lines.finish(|line| self.limits.line(line))?;
        }
        Ok((self.out.into_bytes(), self.err.into_bytes()))
    }

    fn read_stdout(&mut self, most: usize) -> Result<usize, Stop> {
        let bytes = read(&mut self.stdout, &mut self.buffer[..most])?;
        self.out.feed(bytes)?;
        if self.limits.want_lines() {
            self.lines.feed(bytes, |line| self.limits.line(line))?;
        }
        Ok(bytes.len())
    }

    fn read_stderr(&mut self, most: usize) -> Result<usize, Stop> {
        let bytes = read(&mut self.stderr, &mut self.buffer[..most])?;
        self.err.feed(bytes);
        Ok(bytes.len())
    }
}

/// How many bytes wait in a pipe.
fn pending<P: AsFd>(pipe: Option<&P>) -> io::Result<usize> {
    let bytes = pipe.map_or(Ok(0), ioctl_fionread)?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Reads once. At its end the pipe is closed.
fn read<'b, P: Read>(pipe: &mut Option<P>, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    let Some(open) = pipe else {
        return Ok(&[]);
    };
    let length = loop {
        match open.read(buffer) {
            Ok(length) => break length,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    };
    if length == 0 {
        *pipe = None;
    }
    Ok(&buffer[..length])
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::sync::Mutex;
    use std::time::Instant;

    use rustix::pipe::{fcntl_setpipe_size, pipe};

    use super::*;
    use crate::{CommandSpec, Program, Watch};

    #[test]
    fn what_is_in_the_pipes_is_taken_though_somebody_holds_them_open() {
        let filled = |bytes: &[u8]| -> (OwnedFd, File) {
            let (read, write) = pipe().unwrap();
            fcntl_setpipe_size(&write, 512 << 10).unwrap();
            let mut write = File::from(write);
            write.write_all(bytes).unwrap();
            (read, write)
        };
        let text = "a line\n".repeat(40_000);
        let (stdout, _held) = filled(text.as_bytes());
        let (stderr, _held_too) = filled(&[b'e'; 200_000]);
        let count = Mutex::new(0);
        let lines = |line: &[u8]| {
            assert_eq!(line, b"a line");
            *count.lock().unwrap() += 1;
        };
        let watch = Watch::nobody().with_lines(&lines);
        let spec = CommandSpec::new(Program::unchecked("/bin/true".into()));
        let limits = Limits::new(&spec, &watch, Instant::now());
        let streams = Streams::new(Some(stdout.into()), Some(stderr.into()), text.len(), &limits);
        let Ok((out, err)) = streams.finish() else {
            panic!("it was not read");
        };
        assert_eq!(out, text.as_bytes());
        assert!(err.ends_with(b"eee") && err.len() > 64 << 10);
        assert_eq!(count.into_inner().unwrap(), 40_000);
    }
}
