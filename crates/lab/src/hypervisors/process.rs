use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::LabError;

/// How long anything in the lab may take that takes no time on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often is looked whether it has.
const PAUSE: Duration = Duration::from_millis(10);

/// A process of a host, by a handle that no other process can get.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    handle: OwnedFd,
}

impl Process {
    /// The process with this number outside, unless it has gone.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let pid = Pid::from_raw(pid)?;
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { pid, handle })
    }

    /// The process that has this number in the process namespace of that other one.
    pub(crate) fn inside(namespace_of: i32, number: i32) -> Option<Self> {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let wanted = namespace(&namespace_of.to_string())?;
        let processes = fs::read_dir("/proc").ok()?.flatten();
        processes
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.bytes().all(|b| b.is_ascii_digit()))
            .find(|name| {
                let status = fs::read_to_string(format!("/proc/{name}/status")).unwrap_or_default();
                innermost(&status) == Some(number) && namespace(name).as_ref() == Some(&wanted)
            })
            .and_then(|name| Self::of(name.parse().ok()?))
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends a signal. One that has ended already is in nobody's way.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    /// Whether it has ended, at last after so much time.
    pub(crate) fn ends_within(&self, time: Duration) -> bool {
        // A descriptor of a process is readable once the process has ended, pidfd_open(2).
        let mut end = [PollFd::new(&self.handle, PollFlags::IN)];
        let until = Instant::now() + time;
        loop {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
            match poll(&mut end, left.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(ready) => return ready > 0,
                Err(_) => return false,
            }
        }
    }
}

/// The number that a process has in the innermost namespace, from `/proc/PID/status`, proc(5).
fn innermost(status: &str) -> Option<i32> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace().next_back()?.parse().ok()
}

/// Looks again and again until there is something.
pub(crate) fn until<T>(
    what: &str,
    log: impl Fn() -> String,
    mut look: impl FnMut() -> Result<Option<T>, LabError>,
) -> Result<T, LabError> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            return Err(LabError::Late {
                what: what.to_owned(),
                after: PATIENCE,
                log: log(),
            });
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_in_the_innermost_namespace_is_the_last() {
        assert_eq!(innermost("Name:\tx\nNSpid:\t4711\t12\nNSpgid:\t1\n"), Some(12));
        assert_eq!(innermost("NSpid:\t4711\n"), Some(4711));
        assert_eq!(innermost("Pid:\t1\n"), None);
    }

    #[test]
    fn this_process_is_found_in_its_own_namespace() {
        let own = i32::try_from(std::process::id()).unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let found = Process::inside(own, innermost(&status).unwrap()).unwrap();
        assert_eq!(found.pid(), own);
        assert!(!found.ends_within(Duration::ZERO));
    }
}
