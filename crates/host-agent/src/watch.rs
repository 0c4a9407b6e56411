//! Carries out commands for file systems of other machines in a thread that can be left behind when the kernel does not come back.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostAnswer, HostCommand};
use strongroom_types::{Call, Cancellation};

use crate::mount::{Mount, Mounts};
use crate::silence::Silence;
use crate::{failure, kept, touched};

/// How often somebody looks whether the caller asked to stop.
const TICK: Duration = Duration::from_millis(50);

/// How often the server is asked while a command runs.
const INTERVAL: Duration = Duration::from_secs(5);

/// The least time that a server has for an answer while a command runs.
const LEAST: Duration = Duration::from_millis(500);

/// A call that does not say when it ends may find out for so long that a directory cannot be opened.
const OPEN: Duration = Duration::from_secs(30);

/// What a symlink may lead to in turn, as the kernel has it: path_resolution(7).
const MOST_LINKS: usize = 40;

type Answer = Result<HostAnswer, EndpointError>;

/// Carries out a command by `work`: in this thread when all that it touches is this machine's own, and else in one of its own,
/// after everybody who serves the file systems has answered.
pub(crate) fn run<W>(silence: &Silence, call: &Call, command: &HostCommand<'_>, work: W) -> Answer
where
    W: Fn(&Call, &HostCommand<'_>) -> Answer + Send + 'static,
{
    let mounts = remote(command)?;
    if mounts.is_empty() {
        return work(call, command);
    }
    let operation = command.name();
    let opening = matches!(command, HostCommand::OpenDirectory(_));
    let bounded = match call.deadline() {
        None if opening => call.clone().with_timeout(OPEN),
        _ => call.clone(),
    };
    for mount in &mounts {
        silence.check(operation, &bounded, mount)?;
    }
    watch(silence, &bounded, command, &mounts, work)
}

fn watch<W>(silence: &Silence, call: &Call, command: &HostCommand<'_>, mounts: &[Mount], work: W) -> Answer
where
    W: Fn(&Call, &HostCommand<'_>) -> Answer + Send + 'static,
{
    let operation = command.name();
    let lend = kept::keep(command)?;
    let stop = Cancellation::new();
    let own_call = own(call, &stop);
    let (send, receive) = mpsc::channel();
    let (span, subscriber) = (
        tracing::Span::current(),
        tracing::dispatcher::get_default(Clone::clone),
    );
    let worker = thread::Builder::new()
        .name("strongroom-remote".to_owned())
        .spawn(move || {
            tracing::dispatcher::with_default(&subscriber, || {
                span.in_scope(|| {
                    lend(&mut |command| {
                        // Whoever waited may have gone.
                        let _ = send.send(work(&own_call, command));
                    });
                });
            });
        })
        .map_err(|e| failure::io(operation, "/proc/self/task".as_ref(), e))?;
    let mut next = Instant::now() + until_asked(call);
    loop {
        match receive.recv_timeout(TICK) {
            Ok(answer) => {
                let _ = worker.join();
                return answer;
            }
            Err(RecvTimeoutError::Disconnected) => match worker.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => {
                    let message = "the command ended without an answer";
                    return Err(EndpointError::new(ErrorKind::Io, operation, message));
                }
            },
            Err(RecvTimeoutError::Timeout) => {}
        }
        if call.cancellation().is_cancelled() && !stop.is_cancelled() {
            stop.cancel();
            next = next.min(Instant::now() + LEAST);
        }
        if Instant::now() < next {
            continue;
        }
        let asked = Instant::now();
        for mount in mounts {
            let limit = match call.remaining() {
                _ if stop.is_cancelled() => 2 * LEAST,
                // What must not be stopped in the middle goes on after its time.
                Some(Duration::ZERO) => 4 * LEAST,
                Some(left) => left.max(LEAST),
                None => 3 * INTERVAL,
            };
            if !silence.answers(operation, mount, limit)? {
                stop.cancel();
                return Err(silence.mark(operation, mount, asked, Some(worker)));
            }
        }
        next = Instant::now() + until_asked(call);
    }
}

/// When to ask next: soon enough to know before the caller's time is over.
fn until_asked(call: &Call) -> Duration {
    match call.remaining() {
        Some(left) if !left.is_zero() => (left / 2).clamp(LEAST, INTERVAL),
        _ => INTERVAL,
    }
}

/// The same call with a flag of its own.
fn own(call: &Call, stop: &Cancellation) -> Call {
    let watched = call.clone();
    let own = Call::new()
        .with_cancellation(stop.clone())
        .with_progress(std::sync::Arc::new(move |part| watched.report(part)));
    match call.remaining() {
        Some(left) => own.with_timeout(left),
        None => own,
    }
}

/// The file systems of others that a command touches, each once.
fn remote(command: &HostCommand<'_>) -> Result<Vec<Mount>, EndpointError> {
    let list = Mounts::now().map_err(|e| failure::io(command.name(), "/proc/self/mountinfo".as_ref(), e))?;
    let mut found: Vec<Mount> = Vec::new();
    if list.any_remote() {
        for path in touched::paths(command) {
            for mount in along(&list, path) {
                if !found.contains(mount) {
                    found.push(mount.clone());
                }
            }
        }
    }
    Ok(found)
}

/// The file systems of others along a path. Symlinks are followed as long as they are on file systems of this machine; from the first
/// other one on nothing is looked at, since looking would be to wait.
fn along<'m>(list: &'m Mounts, path: &Path) -> Vec<&'m Mount> {
    let mut found = Vec::new();
    let mut todo: VecDeque<OsString> = parts(path);
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        if let Some(mount) = list.of(&next).filter(|mount| mount.is_remote()) {
            found.push(mount);
        }
        let target = match found.as_slice() {
            [] => fs::read_link(&next).ok(),
            _ => None,
        };
        match target {
            Some(target) if links < MOST_LINKS => {
                links += 1;
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                let mut before = parts(&target);
                before.append(&mut todo);
                todo = before;
            }
            _ => at = next,
        }
    }
    found
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_file_systems_are_found_behind_symlinks_and_below_each_other() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let far = root.join("far");
        fs::create_dir(&far).unwrap();
        std::os::unix::fs::symlink("far/deep", root.join("link")).unwrap();
        std::os::unix::fs::symlink(&root, root.join("around")).unwrap();
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        let line = |device: &str, point: &Path, kind: &str| {
            format!("1 1 {device} / {} rw - {kind} s rw\n", point.display())
        };
        let list = Mounts::parse(
            [
                line("8:1", "/".as_ref(), "ext4"),
                line("0:50", &far, "nfs4"),
                line("0:51", &far.join("deep/x"), "cifs"),
            ]
            .concat()
            .as_bytes(),
        );
        let devices = |path: &str| {
            let mut all: Vec<_> = along(&list, &root.join(path))
                .iter()
                .map(|m| m.device.as_str())
                .collect();
            all.dedup();
            all.join(" ")
        };
        assert_eq!(devices("near/disk"), "");
        assert_eq!(devices("far"), "0:50");
        assert_eq!(devices("link/disk"), "0:50");
        assert_eq!(devices("around/link/x/disk"), "0:50 0:51");
        assert_eq!(devices("near/../far/disk"), "0:50");
        assert_eq!(devices("loop/disk"), "");
    }

    #[test]
    fn a_server_is_asked_before_the_time_is_over() {
        assert_eq!(until_asked(&Call::new()), INTERVAL);
        let soon = until_asked(&Call::new().with_timeout(Duration::from_secs(4)));
        assert!(
            soon <= Duration::from_secs(2) && soon > Duration::from_secs(1),
            "{soon:?}"
        );
        assert_eq!(
            until_asked(&Call::new().with_timeout(Duration::from_millis(10))),
            LEAST
        );
    }
}
