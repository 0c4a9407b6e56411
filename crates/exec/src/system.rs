use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::{CommandSpec, Completed, DESCRIPTOR_BASE, RunError, Runner, Watch};

/// Starts processes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRunner(());

impl SystemRunner {
    /// The runner.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }
}

fn drain(mut pipe: impl Read, mut each: impl FnMut(&[u8])) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(n) = pipe.read(&mut buffer) {
        if n == 0 {
            break;
        }
        each(&buffer[..n]);
        if all.len() < 16 << 20 {
            all.extend_from_slice(&buffer[..n]);
        }
    }
    all
}

impl Runner for SystemRunner {
    #[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        let program = command.program().path().display().to_string();
        let io = |source| RunError::Io {
            program: program.clone(),
            source,
        };
        let mut child = Command::new(command.program().path());
        child
            .args(command.arguments())
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut mappings = Vec::new();
        for (number, fd) in (DESCRIPTOR_BASE..).zip(command.descriptors()) {
            mappings.push(FdMapping {
                parent_fd: fd.try_clone_to_owned().map_err(io)?,
                child_fd: number,
            });
        }
        child
            .fd_mappings(mappings)
            .map_err(|e| io(std::io::Error::other(e)))?;
        let begun = Instant::now();
        let mut child = child.spawn().map_err(|source| RunError::Start {
            program: program.clone(),
            source,
        })?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| io(e.into()))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let out = scope.spawn(move || {
                let mut line = Vec::new();
                out.map(|pipe| {
                    drain(pipe, |bytes| {
                        for byte in bytes {
                            if matches!(byte, b'\n' | b'\r') {
                                if let Some(lines) = watch.lines {
                                    lines(&line);
                                }
                                line.clear();
                            } else {
                                line.push(*byte);
                            }
                        }
                    })
                })
            });
            let err = scope.spawn(move || err.map(|pipe| drain(pipe, |_| {})));
            let mut stopped = None;
            loop {
                let tick = Timespec {
                    tv_sec: 0,
                    tv_nsec: 50_000_000,
                };
                let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
                if poll(&mut fds, Some(&tick)).is_ok_and(|n| n > 0) {
                    break;
                }
                let cancelled = watch.call.is_some_and(|c| c.cancellation().is_cancelled());
                let late = watch.call.and_then(|c| c.remaining()) == Some(Duration::ZERO);
                if cancelled || late {
                    let _ = kill_process_group(pid, Signal::KILL);
                    stopped = Some(if cancelled {
                        RunError::Cancelled {
                            program: program.clone(),
                        }
                    } else {
                        RunError::Deadline {
                            program: program.clone(),
                            after: begun.elapsed(),
                        }
                    });
                    break;
                }
            }
            let status = child.wait().map_err(io)?;
            let stdout = out.join().ok().flatten().unwrap_or_default();
            let stderr = err.join().ok().flatten().unwrap_or_default();
            if let Some(error) = stopped {
                return Err(error);
            }
            let mut done = Completed::new(status.code().unwrap_or(-1), stdout, stderr);
            done.duration = begun.elapsed();
            match status.signal() {
                Some(signal) => Err(RunError::Signal {
                    program: program.clone(),
                    signal,
                    message: done.message(),
                }),
                None => Ok(done),
            }
        })
    }
}
