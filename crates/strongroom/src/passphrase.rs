//! Passphrases that a user gives: read from a file, a descriptor or the terminal, and never from the command line.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use strongroom_secret::Passphrase;
use strongroom_types::Call;
use zeroize::Zeroizing;

use crate::cli;

/// Whether a passphrase is typed for the first time, so that a slip of the hand would lose what is encrypted with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typed {
    /// It opens something, which shows whether it is right.
    Known,
    /// It is asked for twice.
    New,
}

/// The passphrase that the command line says where to find; `None` when it says nothing.
///
/// Waits for what is not there yet, such as the hand of a user, until the call is over.
pub(crate) fn given(place: &cli::Passphrase, typed: Typed, call: &Call) -> Result<Option<Passphrase>> {
    if let Some(path) = &place.passphrase_file {
        let file =
            open(path).with_context(|| format!("cannot open the passphrase file {}", path.display()))?;
        return first_line(Awaited { file: &file, call }, &path.display().to_string()).map(Some);
    }
    if let Some(number) = place.passphrase_fd {
        let name = format!("file descriptor {number}");
        let file = open(&Path::new("/proc/self/fd").join(number.to_string()))
            .map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => anyhow!(
                    "{name} is not open in this process; say the number of one that the shell opens for it, as in \
                     `--passphrase-fd {number} {number}<FILE`"
                ),
                _ => anyhow::Error::new(e).context(format!("cannot read {name}")),
            })?;
        return first_line(Awaited { file: &file, call }, &name).map(Some);
    }
    if !place.ask_passphrase {
        return Ok(None);
    }
    let mut terminal = Terminal::open()?;
    let passphrase = terminal.ask("passphrase: ", call)?;
    if typed == Typed::New
        && terminal.ask("the same again: ", call)?.expose_secret() != passphrase.expose_secret()
    {
        bail!("the two passphrases differ");
    }
    Ok(Some(passphrase))
}

/// How long a signal or the end of the call may go unnoticed.
const GLANCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Opens without waiting for whoever is to write, as a pipe with a name would.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}

/// A file that is read when there is something to read, unless the call ends before.
struct Awaited<'a> {
    file: &'a File,
    call: &'a Call,
}

impl Read for Awaited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.call.check().map_err(io::Error::other)?;
            let mut asked = [PollFd::new(self.file, PollFlags::IN)];
            match poll(&mut asked, Some(&GLANCE)) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(e) => return Err(e.into()),
            }
            let mut file = self.file;
            match file.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// The first line, without its end.
fn first_line(mut from: impl Read, name: &str) -> Result<Passphrase> {
    // One buffer that never grows, so that no copy is left behind; room for one byte too many and a line break.
    let mut bytes = Zeroizing::new(vec![0; Passphrase::MAX + 2]);
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let read = match from.read(rest) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.with_context(|| format!("cannot read the passphrase from {name}"))?,
        };
        let line_ends = rest.iter().take(read).any(|b| *b == b'\n');
        length += read;
        if read == 0 || line_ends {
            break;
        }
    }
    let line = bytes
        .iter()
        .take(length)
        .position(|b| *b == b'\n')
        .unwrap_or(length);
    bytes.truncate(line);
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    Passphrase::import(bytes).with_context(|| format!("what {name} has is no passphrase"))
}

/// The terminal of the user, on which nothing that is typed is shown.
struct Terminal {
    file: File,
    before: Termios,
}

impl Terminal {
    fn open() -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .context("there is no terminal to ask on; say --passphrase-file or --passphrase-fd")?;
        let before = tcgetattr(&file).context("cannot read the terminal's settings")?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO;
        tcsetattr(&file, OptionalActions::Flush, &quiet).context("cannot silence the terminal")?;
        Ok(Self { file, before })
    }

    fn ask(&mut self, question: &str, call: &Call) -> Result<Passphrase> {
        self.file.write_all(question.as_bytes())?;
        let line = first_line(
            Awaited {
                file: &self.file,
                call,
            },
            "the terminal",
        );
        self.file.write_all(b"\n")?;
        line
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Should this fail, nothing more can be done about it.
        let _ = tcsetattr(&self.file, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_is_the_first_line_without_its_end() {
        for text in [
            "correct horse",
            "correct horse\n",
            "correct horse\r\n",
            "correct horse\nmore\n",
        ] {
            let read = first_line(text.as_bytes(), "here").unwrap();
            assert!(read.expose_secret() == b"correct horse", "{text:?}");
        }
    }

    #[test]
    fn what_is_too_short_or_too_long_is_refused_and_not_repeated() {
        for text in ["", "\n", "short\n", &"x".repeat(Passphrase::MAX + 1)] {
            let refused = format!("{:#}", first_line(text.as_bytes(), "here").unwrap_err());
            assert!(refused.contains("here has is no passphrase"), "{refused}");
            assert!(
                !refused.contains("short\n") && !refused.contains("xxxx"),
                "{refused}"
            );
        }
        let longest = "x".repeat(Passphrase::MAX);
        let read = first_line(format!("{longest}\n").as_bytes(), "here").unwrap();
        assert!(read.expose_secret() == longest.as_bytes());
    }
}
