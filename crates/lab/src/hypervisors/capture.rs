use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use super::LabError;
use super::namespaces::{Namespaces, tail};
use super::process::{PATIENCE, Process, until};
use super::tools::tool;

/// So that two captures of one host do not share a file.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// The file has this much before the first packet (pcap-savefile(5)).
const HEADER: u64 = 24;

/// A capture that goes on. Ended when dropped.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    interface: String,
    file: PathBuf,
    log: PathBuf,
}

/// What was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Captured {
    /// The packets as they went over the wire, in tcpdump's format. It goes with the lab.
    pub file: PathBuf,
    /// How many they are, more than none.
    pub packets: u64,
}

impl Capture {
    pub(crate) fn start(namespaces: &Namespaces, own: &Path, interface: &str) -> Result<Self, LabError> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = own.join(format!("capture-{number}.pcap"));
        let log = own.join(format!("capture-{number}.log"));
        let command = tool("tcpdump", "tcpdump")?
            .args([
                "-Z", "root", "-n", "-U", "-s", "0", "-B", "65536", "-i", interface, "-w",
            ])
            .arg(&file);
        let process = namespaces.launch(&command, &log)?;
        // It writes the header when it listens.
        until(
            "a capture",
            || tail(&log),
            || {
                if process.ends_within(Duration::ZERO) {
                    return Err(LabError::Ended {
                        what: "tcpdump".to_owned(),
                        log: tail(&log),
                    });
                }
                Ok(fs::metadata(&file)
                    .is_ok_and(|file| file.len() >= HEADER)
                    .then_some(()))
            },
        )?;
        Ok(Self {
            process,
            interface: interface.to_owned(),
            file,
            log,
        })
    }

    /// Ends it. What went over the interface before is in the file.
    ///
    /// # Errors
    /// [`LabError::Capture`] when there is no packet in it, or when the kernel dropped some: then nothing that is not in it
    /// is proved not to have gone over the interface.
    pub fn stop(self) -> Result<Captured, LabError> {
        self.process.signal(Signal::INT);
        if !self.process.ends_within(PATIENCE) {
            return Err(LabError::Late {
                what: "the end of a capture".to_owned(),
                after: PATIENCE,
                log: tail(&self.log),
            });
        }
        let said = tail(&self.log);
        match (
            count(&said, "packets captured"),
            count(&said, "packets dropped by kernel"),
        ) {
            (Some(packets @ 1..), Some(0)) => Ok(Captured {
                file: self.file.clone(),
                packets,
            }),
            (packets, lost) => Err(LabError::Capture {
                interface: self.interface.clone(),
                packets: packets.unwrap_or(0),
                lost: lost.unwrap_or(0),
            }),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.process.signal(Signal::KILL);
    }
}

/// The number before these words in what tcpdump says at its end: `12 packets captured`.
fn count(said: &str, words: &str) -> Option<u64> {
    let line = said.lines().find(|line| line.ends_with(words))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_of_tcpdump_are_read() {
        let said = "tcpdump: listening on lo, link-type EN10MB (Ethernet)\n12 packets captured\n24 packets received by \
                    filter\n3 packets dropped by kernel\n";
        assert_eq!(count(said, "packets captured"), Some(12));
        assert_eq!(count(said, "packets dropped by kernel"), Some(3));
        assert_eq!(count("nothing", "packets captured"), None);
    }
}
