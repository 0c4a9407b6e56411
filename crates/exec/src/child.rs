use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, kill_process_group, pidfd_open, prlimit};

use crate::group::wait_until_gone;
use crate::numbers::KEPT;
use crate::{CommandSpec, DESCRIPTOR_BASE, executable};

/// How long a killed child may take to end. One that waits for a dead device takes for ever.
const GRACE: Duration = Duration::from_secs(10);

/// A child that was started and not yet awaited, the leader of its own process group.
pub(crate) struct Running {
    child: Child,
    group: Pid,
    pidfd: OwnedFd,
}

/// Why there is no exit status.
#[derive(Debug)]
pub(crate) enum EndError {
    /// It was killed and has not ended.
    Stuck(u32),
    /// Somebody else took it.
    Io(io::Error),
}

/// Why there is no child.
pub(crate) enum StartError {
    /// It could not be started.
    Start(io::Error),
    /// It was started and killed again, because nobody could have watched it.
    Io(io::Error),
}

impl Running {
    #[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
    pub(crate) fn start(
        spec: &CommandSpec<'_>,
    ) -> Result<(Self, Option<ChildStdout>, Option<ChildStderr>), StartError> {
        executable::check(spec.program().path()).map_err(StartError::Start)?;
        let mut command = Command::new(spec.program().path());
        command
            .args(spec.arguments())
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        // Without a mapping the standard library can start the child without copying this process's page tables.
        if !spec.descriptors().is_empty() {
            let mappings = mappings(spec).map_err(StartError::Start)?;
            command
                .fd_mappings(mappings)
                .map_err(|e| StartError::Start(io::Error::other(e)))?;
        }
        let mut child = command.spawn().map_err(StartError::Start)?;
        let group = Pid::from_child(&child);
        // A crash must not write the child's memory, which may have a key, to a disk. Limit 1 is below the size of any
        // core file, and the kernel's word for "not to a core_pattern program either", which limit 0 is not.
        let no_core = Rlimit {
            current: Some(1),
            maximum: Some(1),
        };
        let _ = prlimit(Some(group), Resource::Core, no_core);
        match pidfd_open(group, PidfdFlags::empty()) {
            Ok(pidfd) => {
                let (out, err) = (child.stdout.take(), child.stderr.take());
                Ok((Self { child, group, pidfd }, out, err))
            }
            Err(e) => {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                Err(StartError::Io(e.into()))
            }
        }
    }

    /// Becomes readable when the child has ended.
    pub(crate) fn ended(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Kills whatever there is of the child's group, be it the child itself or what it left behind, and awaits it.
    pub(crate) fn end(self) -> Result<ExitStatus, EndError> {
        // The child keeps its number until it is awaited, so the signal cannot hit a stranger.
        let _ = kill_process_group(self.group, Signal::KILL);
        let group = self.group;
        let status = self.reap(GRACE)?;
        wait_until_gone(group);
        Ok(status)
    }

    fn reap(mut self, grace: Duration) -> Result<ExitStatus, EndError> {
        if has_ended(&self.pidfd, grace).map_err(EndError::Io)? {
            return self.child.wait().map_err(EndError::Io);
        }
        let pid = self.child.id();
        // Whenever it ends at last, it shall not stay a zombie.
        let _ = std::thread::Builder::new().spawn(move || self.child.wait());
        Err(EndError::Stuck(pid))
    }
}

fn mappings(spec: &CommandSpec<'_>) -> io::Result<Vec<FdMapping>> {
    let count = i32::try_from(spec.descriptors().len()).unwrap_or(i32::MAX);
    let numbers = DESCRIPTOR_BASE..DESCRIPTOR_BASE.saturating_add(count);
    KEPT.keep(&numbers)?;
    numbers
        .zip(spec.descriptors())
        .map(|(child_fd, descriptor)| {
            Ok(FdMapping {
                parent_fd: descriptor.try_clone_to_owned()?,
                child_fd,
            })
        })
        .collect()
}

fn has_ended(pidfd: &OwnedFd, grace: Duration) -> io::Result<bool> {
    let begun = Instant::now();
    loop {
        let left = grace.saturating_sub(begun.elapsed());
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timespec(left))) {
            Ok(0) if !left.is_zero() => {}
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// For `poll`. Too long for the type is as good as a day.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec {
        tv_sec: 86_400,
        tv_nsec: 0,
    })
}

#[cfg(test)]
mod tests {
    use rustix::process::test_kill_process;

    use super::*;
    use crate::Program;

    fn sleeper() -> Running {
        let spec = CommandSpec::new(Program::find("sleep").unwrap()).arg("120");
        match Running::start(&spec) {
            Ok((running, _, _)) => running,
            Err(StartError::Start(e) | StartError::Io(e)) => panic!("{e}"),
        }
    }

    #[test]
    fn a_child_that_does_not_end_is_reported_and_awaited_by_somebody_else() {
        let stubborn = sleeper();
        let pid = stubborn.group;
        let begun = Instant::now();
        let error = stubborn.reap(Duration::from_millis(20)).unwrap_err();
        assert!(begun.elapsed() >= Duration::from_millis(20));
        assert!(
            matches!(error, EndError::Stuck(p) if p == pid.as_raw_nonzero().get().unsigned_abs()),
            "{error:?}"
        );
        kill_process_group(pid, Signal::KILL).unwrap();
        let begun = Instant::now();
        // A zombie could still be signalled.
        while test_kill_process(pid).is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(60), "still a zombie");
            std::thread::yield_now();
        }
    }

    #[test]
    fn whoever_is_ended_is_awaited() {
        let running = sleeper();
        let pid = running.group;
        running.end().unwrap();
        assert_eq!(test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    }
}
