//! What has to be known of machines while a command works on them, and after whoever worked was killed: locks and marks in a directory
//! that does not outlive the host, as the machines do not either.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use sha2::{Digest, Sha256};
use strongroom_endpoint_selector::{EndpointError, ErrorKind};
use strongroom_libvirt::{SecretName, Uri};
use strongroom_types::VmId;

use crate::failure;

/// How long somebody else's lock is waited for: a child between its fork and its exec has what its parent has.
const GLANCE: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(5);

/// The directory, and of which hypervisor.
#[derive(Debug)]
pub(super) struct Runtime {
    directory: PathBuf,
    scope: String,
}

/// Something that nobody else works on. Let go when dropped, and when the process ends.
#[derive(Debug)]
pub(super) struct Held {
    file: File,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Under the lock: whoever opened it meanwhile finds that it is not the file of this name any more.
        let _ = fs::remove_file(&self.path);
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Runtime {
    pub(super) fn of(uri: &Uri) -> Self {
        let directory = match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(own) if !geteuid().is_root() => PathBuf::from(own),
            _ => PathBuf::from("/run"),
        };
        let digest = Sha256::digest(uri.as_str().as_bytes());
        Self {
            directory: directory.join("strongroom"),
            scope: hexadecimal(&digest),
        }
    }

    pub(super) fn hold_vm(&self, operation: &'static str, vm: &VmId) -> Result<Held, EndpointError> {
        let busy = || format!("another command for {vm} is under way");
        self.hold(operation, &format!("{}-vm-{vm}.lock", self.scope), busy)
    }

    /// Holds a disk that is there, by whatever name it is reached.
    pub(super) fn hold_disk(&self, operation: &'static str, path: &Path) -> Result<Held, EndpointError> {
        let found = path.metadata().map_err(|e| failure::io(operation, path, e))?;
        let name = if found.file_type().is_block_device() {
            format!("device-{:x}.lock", found.rdev())
        } else {
            format!("file-{:x}-{:x}.lock", found.dev(), found.ino())
        };
        let busy = || {
            format!(
                "another command for a virtual machine works on {}",
                path.display()
            )
        };
        self.hold(operation, &name, busy)
    }

    /// Holds a secret, so that nobody takes it away before it was used.
    pub(super) fn hold_secret(
        &self,
        operation: &'static str,
        name: &SecretName,
    ) -> Result<Held, EndpointError> {
        let file = format!("{}-secret-{}.lock", self.scope, name.uuid());
        let busy = || format!("another command uses the key of {}", name.volume());
        self.hold(operation, &file, busy)
    }

    fn hold(
        &self,
        operation: &'static str,
        name: &str,
        busy: impl Fn() -> String,
    ) -> Result<Held, EndpointError> {
        self.make(operation)?;
        let path = self.directory.join(name);
        let io = |e| failure::io(operation, &path, e);
        let patience = Instant::now() + GLANCE;
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
                .open(&path)
                .map_err(io)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() < patience => {
                    thread::sleep(PAUSE);
                    continue;
                }
                Err(Errno::WOULDBLOCK) => {
                    return Err(EndpointError::new(ErrorKind::Busy, operation, busy()));
                }
                Err(e) => return Err(io(e.into())),
            }
            let opened = file.metadata().map_err(io)?;
            match path.symlink_metadata() {
                Ok(named) if (named.dev(), named.ino()) == (opened.dev(), opened.ino()) => {
                    return Ok(Held { file, path });
                }
                // Whoever had it has just let go, and taken the name away.
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(io(e)),
            }
        }
    }

    fn make(&self, operation: &'static str) -> Result<(), EndpointError> {
        let made = DirBuilder::new().mode(0o700).create(&self.directory);
        match made {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failure::io(operation, &self.directory, e));
            }
            _ => {}
        }
        let found = self
            .directory
            .symlink_metadata()
            .map_err(|e| failure::io(operation, &self.directory, e))?;
        if found.is_dir() && found.uid() == geteuid().as_raw() {
            return Ok(());
        }
        let message = format!(
            "{} is not a directory of this user; remove it",
            self.directory.display()
        );
        Err(EndpointError::new(
            ErrorKind::PermissionDenied,
            operation,
            message,
        ))
    }

    /// Says that a machine is being made and its guest has not run.
    pub(super) fn mark_starting(&self, operation: &'static str, vm: &VmId) -> Result<(), EndpointError> {
        self.make(operation)?;
        let path = self.starting(vm);
        fs::write(&path, b"").map_err(|e| failure::io(operation, &path, e))
    }

    pub(super) fn is_starting(&self, vm: &VmId) -> bool {
        self.starting(vm).exists()
    }

    pub(super) fn unmark_starting(&self, operation: &'static str, vm: &VmId) -> Result<(), EndpointError> {
        let path = self.starting(vm);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failure::io(operation, &path, e)),
            _ => Ok(()),
        }
    }

    fn starting(&self, vm: &VmId) -> PathBuf {
        self.directory.join(format!("{}-starting-{vm}", self.scope))
    }

    /// Where it is written down what is under way for a machine.
    pub(super) fn work(&self, vm: &VmId) -> PathBuf {
        self.directory.join(format!("{}-work-{vm}", self.scope))
    }

    /// Where it is written down what was prepared for a machine that is on its way here.
    pub(super) fn incoming(&self, vm: &VmId) -> PathBuf {
        self.directory.join(format!("{}-incoming-{vm}", self.scope))
    }

    /// Writes one of these: all of it, or what was there stays.
    pub(super) fn write(
        &self,
        operation: &'static str,
        path: &Path,
        vm: &VmId,
        text: &str,
    ) -> Result<(), EndpointError> {
        self.make(operation)?;
        let new = self.directory.join(format!("{}-new-{vm}", self.scope));
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, path))
            .map_err(|e| failure::io(operation, path, e))
    }

    /// The machines for which something is under way.
    pub(super) fn all_work(&self) -> Vec<VmId> {
        self.machines("work")
    }

    /// The machines that are on their way here.
    pub(super) fn all_incoming(&self) -> Vec<VmId> {
        self.machines("incoming")
    }

    /// The machines that are marked as being made.
    pub(super) fn all_starting(&self) -> Vec<VmId> {
        self.machines("starting")
    }

    fn machines(&self, what: &str) -> Vec<VmId> {
        let prefix = format!("{}-{what}-", self.scope);
        let names = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        names
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(&prefix)?.parse().ok())
            .collect()
    }
}

/// Enough of a digest for a name.
fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(directory: &Path, uri: &str) -> Runtime {
        Runtime {
            directory: directory.join("strongroom"),
            ..Runtime::of(&uri.parse().unwrap())
        }
    }

    #[test]
    fn a_machine_is_held_by_one_at_a_time_and_nothing_is_left() {
        let place = tempfile::tempdir().unwrap();
        let (vm, other) = ("vm-1".parse().unwrap(), "vm-2".parse().unwrap());
        let here = at(place.path(), "qemu:///system");
        let held = here.hold_vm("Test", &vm).unwrap();
        let second = at(place.path(), "qemu:///system")
            .hold_vm("Test", &vm)
            .unwrap_err();
        assert_eq!(second.kind(), ErrorKind::Busy);
        drop(here.hold_vm("Test", &other).unwrap());
        drop(
            at(place.path(), "qemu+tls://h2/system")
                .hold_vm("Test", &vm)
                .unwrap(),
        );
        drop(held);
        drop(here.hold_vm("Test", &vm).unwrap());
        assert_eq!(fs::read_dir(here.directory).unwrap().count(), 0);
    }

    #[test]
    fn threads_that_take_turns_never_hold_one_thing_together() {
        let place = tempfile::tempdir().unwrap();
        let (vm, inside) = ("vm-1".parse().unwrap(), std::sync::Mutex::new(()));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Ok(_held) = at(place.path(), "qemu:///system").hold_vm("Test", &vm) {
                            let _alone = inside.try_lock().unwrap();
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn a_disk_is_one_by_all_its_names() {
        let place = tempfile::tempdir().unwrap();
        let (path, link) = (place.path().join("disk"), place.path().join("link"));
        fs::write(&path, b"x").unwrap();
        fs::hard_link(&path, &link).unwrap();
        let runtime = at(place.path(), "qemu:///system");
        let _held = runtime.hold_disk("Test", &path).unwrap();
        let other = at(place.path(), "qemu:///other")
            .hold_disk("Test", &link)
            .unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Busy);
    }

    #[test]
    fn marks_are_of_one_hypervisor() {
        let place = tempfile::tempdir().unwrap();
        let vm: VmId = "vm-1".parse().unwrap();
        let (here, there) = (
            at(place.path(), "qemu:///system"),
            at(place.path(), "qemu:///other"),
        );
        here.mark_starting("Test", &vm).unwrap();
        assert!(here.is_starting(&vm) && !there.is_starting(&vm));
        assert_eq!(here.all_starting(), std::slice::from_ref(&vm));
        for _ in 0..2 {
            here.unmark_starting("Test", &vm).unwrap();
        }
        assert!(here.all_starting().is_empty());
    }
}
