use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::LabError;

/// How long a guest may take until it answers: it may just have been switched on, on a machine that has much to do.
const BOOT: Duration = Duration::from_secs(180);

/// How long a guest may take for a small thing.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the first answer is awaited before it is asked again: while a guest boots, nobody listens.
const AGAIN: Duration = Duration::from_millis(500);

/// The terminal of Linux holds 4096 bytes that nobody has read yet.
const LONGEST: usize = 3500;

/// The bytes of a block that a canary fills.
pub(crate) const BLOCK: u64 = 4096;

/// The serial console of a guest that booted a [`GuestImage`](super::GuestImage), by the socket that its domain gives it:
/// `<serial type='unix'><source mode='bind' path='..'/></serial>`.
#[derive(Debug)]
pub struct Console {
    stream: UnixStream,
    socket: PathBuf,
    heard: Vec<u8>,
    number: u64,
}

/// What a command did in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// What it printed on either output.
    pub output: String,
    /// Its exit code.
    pub code: i32,
}

impl Console {
    /// Connects and waits until the guest answers. `socket` is the path on this machine:
    /// [`outside`](super::Hypervisor::outside) of the one in the domain. A socket has one connection at a time.
    ///
    /// # Errors
    /// [`LabError::Io`] when nobody listens, [`LabError::Late`] when the guest does not answer in three minutes.
    pub fn connect(socket: &Path) -> Result<Self, LabError> {
        let stream = UnixStream::connect(socket).map_err(LabError::io("connect to", socket))?;
        // Answers to an earlier connection have other numbers.
        let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut console = Self {
            stream,
            socket: socket.to_owned(),
            heard: Vec::new(),
            number: start.map_or(0, |time| u64::from(time.subsec_nanos()) * 1000),
        };
        let begun = Instant::now();
        loop {
            match console.run("true", AGAIN) {
                Ok(Answer { code: 0, .. }) => return Ok(console),
                Ok(_) => {}
                Err(LabError::Late { .. }) if begun.elapsed() < BOOT => {}
                Err(LabError::Late { what, log, .. }) => {
                    return Err(LabError::Late {
                        what,
                        after: begun.elapsed(),
                        log,
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs a line of the shell in the guest: its output, both kinds, and its exit code, which may be any. Standard input is
    /// empty, the directory `/tmp`, nothing of one line is left for the next but files and what was started with `&`.
    ///
    /// # Errors
    /// [`LabError::Late`] when there is no answer within this time: the guest may still be at it. [`LabError::Command`] for
    /// a command with more than one line or more than 3,500 bytes. [`LabError::Io`] when the connection ends, as it does with QEMU.
    pub fn run(&mut self, command: &str, within: Duration) -> Result<Answer, LabError> {
        if command.is_empty() || command.len() > LONGEST || command.contains(['\n', '\r', '\0']) {
            return Err(LabError::Command {
                limit: LONGEST,
                command: command.to_owned(),
            });
        }
        self.number += 1;
        let until = Instant::now() + within;
        // The empty line ends what somebody before did not say to its end.
        let line = format!("\nrun {} {command}\n", self.number);
        self.heard.clear();
        self.stream
            .write_all(line.as_bytes())
            .map_err(LabError::io("write to", &self.socket))?;
        loop {
            if let Some(answer) = answer(&self.heard, self.number) {
                return Ok(answer);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LabError::Late {
                    what: format!("the guest's answer to {command:?}"),
                    after: within,
                    log: String::from_utf8_lossy(&self.heard).into_owned(),
                });
            }
            self.listen(left)?;
        }
    }

    /// The output of a line of the shell that has to succeed within a minute, without white space at its end.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`LabError::Answer`] for another exit code than 0.
    pub fn output(&mut self, command: &str) -> Result<String, LabError> {
        let Answer { output, code } = self.run(command, PATIENCE)?;
        if code == 0 {
            return Ok(output.trim_end().to_owned());
        }
        Err(LabError::Answer {
            command: command.to_owned(),
            code,
            output,
        })
    }

    /// Fills block number `block`, of 4096 bytes, of a disk (`vda`) with this text, line by line, and waits until the disk has
    /// it. The text is one word of letters, digits, dashes.
    ///
    /// # Errors
    /// [`LabError::Answer`] when the guest has no such disk, or cannot write to it.
    pub fn write_canary(&mut self, disk: &str, block: u64, text: &str) -> Result<(), LabError> {
        // Without a disk, a file of that name would be made, and would prove nothing.
        self.output(&format!(
            "set -e; [ -b /dev/{disk} ]; yes '{text}' | head -c {BLOCK} >/tmp/canary; \
             dd if=/tmp/canary of=/dev/{disk} bs={BLOCK} seek={block} conv=notrunc,fsync 2>/dev/null; rm /tmp/canary"
        ))
        .map(drop)
    }

    /// The first line of that block, read from the disk and not from the guest's memory: the text that
    /// [`write_canary`](Self::write_canary) wrote. A canary that is looked for elsewhere and not found proves something only
    /// when the guest finds it.
    ///
    /// # Errors
    /// [`LabError::Answer`] when the guest has no such disk, or cannot read from it.
    pub fn read_canary(&mut self, disk: &str, block: u64) -> Result<String, LabError> {
        self.output(&format!(
            "set -e; [ -b /dev/{disk} ]; dd if=/dev/{disk} of=/tmp/canary bs={BLOCK} skip={block} count=1 iflag=direct 2>/dev/null; \
             head -n 1 /tmp/canary | head -c 256 | tr -d '\\0'; rm /tmp/canary"
        ))
    }

    /// How long a disk is for the guest, in bytes.
    ///
    /// # Errors
    /// [`LabError::Answer`] when the guest has no such disk.
    pub fn disk_bytes(&mut self, disk: &str) -> Result<u64, LabError> {
        let command = format!("cat /sys/block/{disk}/size");
        let output = self.output(&command)?;
        // In units of 512 bytes, whatever the disk's blocks are (Documentation/ABI/stable/sysfs-block of Linux).
        output
            .parse::<u64>()
            .map(|n| n * 512)
            .map_err(|_| LabError::Answer {
                command,
                code: 0,
                output,
            })
    }

    fn listen(&mut self, time: Duration) -> Result<(), LabError> {
        let failed = LabError::io("read from", &self.socket);
        let mut piece = [0; 4096];
        let time = time.max(Duration::from_millis(1));
        let read = self
            .stream
            .set_read_timeout(Some(time))
            .and_then(|()| self.stream.read(&mut piece));
        match read {
            Ok(0) => Err(failed(ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                self.heard.extend_from_slice(&piece[..count]);
                Ok(())
            }
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(())
            }
            Err(e) => Err(failed(e)),
        }
    }
}

/// The answer with this number, when it is whole.
fn answer(heard: &[u8], number: u64) -> Option<Answer> {
    let find = |text: &str, from: usize| {
        let rest = heard.get(from..)?;
        let at = rest.windows(text.len()).position(|w| w == text.as_bytes())?;
        Some((from + at, from + at + text.len()))
    };
    let (_, begin) = find(&format!("\n{number} begin\n"), 0)?;
    let (end, code_at) = find(&format!("\n{number} end "), begin - 1)?;
    let rest = heard.get(code_at..)?;
    let code = rest.split_at(rest.iter().position(|b| *b == b'\n')?).0;
    Some(Answer {
        output: String::from_utf8_lossy(heard.get(begin..end).unwrap_or_default()).into_owned(),
        code: std::str::from_utf8(code).ok()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Option<(String, i32)> {
        answer(text.as_bytes(), 7).map(|a| (a.output, a.code))
    }

    #[test]
    fn an_answer_lies_between_its_own_marks() {
        assert_eq!(
            heard("\n7 begin\nhello\n\n7 end 0\n"),
            Some(("hello\n".to_owned(), 0))
        );
        assert_eq!(
            heard("\n7 begin\nno line\n7 end 3\n"),
            Some(("no line".to_owned(), 3))
        );
        let after_another = "\n6 begin\nold\n6 end 1\n\n7 begin\n\n7 end 0\n";
        assert_eq!(heard(after_another), Some((String::new(), 0)));
    }

    #[test]
    fn an_answer_that_is_not_whole_is_none() {
        for text in [
            "",
            "\n7 begin\nhello\n",
            "\n7 begin\n\n7 end 0",
            "\n7 end 0\n",
            "\n77 begin\n\n77 end 0\n",
        ] {
            assert_eq!(heard(text), None, "{text:?}");
        }
    }
}
