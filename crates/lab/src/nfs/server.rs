use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::mount::tool;
use super::{Export, NfsError};

const CONFIGURATION: &str = "/run/ganesha.conf";
const PID: &str = "/run/ganesha.pid";
const LOG: &str = "/run/ganesha.log";

/// The pipe to the process that starts servers.
const START: &str = "/lab/start";

/// Where the server notes its clients, to know after a restart who may claim locks again.
const RECOVERY: &str = "/var/lib/nfs/ganesha";

/// The port of NFS, RFC 7530.
const PORT: u16 = 2049;

/// How long the server may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often is looked whether it has.
const PAUSE: Duration = Duration::from_millis(10);

/// An NFS server in the guest: a process that can be stopped and killed. Killed when dropped.
#[derive(Debug)]
pub struct NfsServer(Option<Process>);

#[derive(Debug)]
struct Process {
    pid: Pid,
    handle: OwnedFd,
}

impl NfsServer {
    /// Starts it. It takes connections when this returns.
    ///
    /// # Errors
    /// [`NfsError::Late`] when it does not, with its log.
    pub fn start(export: &Export) -> Result<Self, NfsError> {
        fs::create_dir_all(RECOVERY).map_err(NfsError::io("make the server's directory"))?;
        fs::write(CONFIGURATION, export.configuration()).map_err(NfsError::io("write its configuration"))?;
        launch().map(|process| Self(Some(process)))
    }

    /// Stops it where it is, as if its machine hung: connections stay open and nothing is answered. All its threads stand
    /// still when this returns.
    ///
    /// # Errors
    /// [`NfsError::Down`] when it does not run.
    pub fn hang(&self) -> Result<(), NfsError> {
        let process = self.process()?;
        process.signal(Signal::STOP)?;
        wait_until("stopped", || Ok(process.all_stopped()))
    }

    /// Lets it go on after [`hang`](Self::hang): it answers what it was asked in the meantime.
    ///
    /// # Errors
    /// [`NfsError::Down`] when it does not run.
    pub fn resume(&self) -> Result<(), NfsError> {
        self.process()?.signal(Signal::CONT)
    }

    /// Kills it, also while it hangs: what it has not handed to the file system is lost, connections are reset. It is gone
    /// when this returns.
    ///
    /// # Errors
    /// [`NfsError::Down`] when it did not run.
    pub fn kill(&mut self) -> Result<(), NfsError> {
        let process = self.0.take().ok_or_else(down)?;
        process.signal(Signal::KILL)?;
        if process.ends_within(PATIENCE)? {
            Ok(())
        } else {
            Err(late("gone"))
        }
    }

    /// Starts it again after [`kill`](Self::kill), with this export. A server that still runs is killed before. For five
    /// seconds only those get locks that had them before, when there were any.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn restart(&mut self, export: &Export) -> Result<(), NfsError> {
        if self.0.is_some() {
            self.kill()?;
        }
        *self = Self::start(export)?;
        Ok(())
    }

    /// Its process number, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.0.as_ref().map(|process| process.pid.as_raw_nonzero().get())
    }

    fn process(&self) -> Result<&Process, NfsError> {
        self.0.as_ref().ok_or_else(down)
    }
}

impl Drop for NfsServer {
    fn drop(&mut self) {
        if self.0.is_some() {
            let _ = self.kill();
        }
    }
}

impl Process {
    fn signal(&self, signal: Signal) -> Result<(), NfsError> {
        pidfd_send_signal(&self.handle, signal).map_err(NfsError::os("send the server a signal"))
    }

    fn ends_within(&self, time: Duration) -> Result<bool, NfsError> {
        // A descriptor of a process is readable once the process has ended, pidfd_open(2).
        let mut end = [PollFd::new(&self.handle, PollFlags::IN)];
        let time = Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let ended = poll(&mut end, Some(&time)).map_err(NfsError::os("await the server's end"))?;
        Ok(ended == 1)
    }

    /// Whether each of its threads has stopped. The signal reaches each at its next step.
    fn all_stopped(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid.as_raw_nonzero()));
        let mut states = tasks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
            .peekable();
        states.peek().is_some() && states.all(|stat| is_stopped(&stat))
    }
}

/// Starts the server with the configuration that is there and waits until it takes connections.
fn launch() -> Result<Process, NfsError> {
    // A number of an earlier one would be mistaken for its own.
    let _ = fs::remove_file(PID);
    let server = tool("ganesha.nfsd")?;
    let command = format!(
        "{} -f {CONFIGURATION} -L {LOG} -p {PID}\n",
        server.path().display()
    );
    fs::write(START, command).map_err(NfsError::io("have the server started"))?;

    let mut process = None;
    wait_until("ready", || {
        if process.is_none() {
            process = started(Path::new(PID));
        }
        if let Some(process) = &process
            && process.ends_within(Duration::ZERO)?
        {
            return Err(down());
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        Ok(process.is_some() && TcpStream::connect_timeout(&address, PATIENCE).is_ok())
    })?;
    process.ok_or_else(down)
}

/// The process whose number is in this file.
fn started(file: &Path) -> Option<Process> {
    let number = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let pid = Pid::from_raw(number)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    Some(Process { pid, handle })
}

fn wait_until(state: &'static str, mut done: impl FnMut() -> Result<bool, NfsError>) -> Result<(), NfsError> {
    let begun = Instant::now();
    while !done()? {
        if begun.elapsed() > PATIENCE {
            return Err(late(state));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn late(state: &'static str) -> NfsError {
    NfsError::Late {
        state,
        after: PATIENCE,
        log: log(),
    }
}

fn down() -> NfsError {
    NfsError::Down { log: log() }
}

/// The end of the server's log.
fn log() -> String {
    let text = fs::read_to_string(LOG).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Whether this line of `/proc/PID/task/TID/stat`, proc(5), is of a thread that was stopped. The second field is a name in
/// parentheses, which may have anything in it.
fn is_stopped(stat: &str) -> bool {
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().next());
    state == Some("T")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_thread_is_told_from_others() {
        assert!(is_stopped("130 (ganesha.nfsd) T 1 129 129 0 -1"));
        assert!(is_stopped("130 (a) S (b) T 1"));
        for other in ["130 (T) S 1 129", "130 (ganesha.nfsd) D 1", "130 (x) t 1", ""] {
            assert!(!is_stopped(other), "{other}");
        }
    }
}
