//! Files that a command made for a running machine, and how far it came: what is undone after a failure, and after a kill.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strongroom_endpoint_selector::{DiskLocation, EndpointError, ErrorKind};
use strongroom_libvirt::{LibvirtError, LiveDomain};
use strongroom_types::{DiskFormat, DiskTarget, VmId};

use super::guest_disk::has;
use super::session::{Session, to_its_end};
use crate::{directory, failure, keyslots, staging};

/// What is under way for a machine, written down.
pub(super) struct Work<'s> {
    session: &'s Session<'s>,
    vm: VmId,
    targets: Vec<DiskTarget>,
    files: Vec<PathBuf>,
}

impl<'s> Work<'s> {
    /// Writes down on which disks is worked and which files are going to be made, none of which is there.
    pub(super) fn begin<'t>(
        session: &'s Session<'s>,
        vm: &VmId,
        targets: impl IntoIterator<Item = &'t DiskTarget>,
        files: Vec<PathBuf>,
    ) -> Result<Self, EndpointError> {
        let work = Self {
            session,
            vm: vm.clone(),
            targets: targets.into_iter().cloned().collect(),
            files,
        };
        work.write(false)?;
        Ok(work)
    }

    /// Writes down that libvirt is told of them: from here on the guest's newest data may be in them.
    pub(super) fn told(&self) -> Result<(), EndpointError> {
        self.write(true)
    }

    /// Nothing is left to do or to undo.
    pub(super) fn done(&self) -> Result<(), EndpointError> {
        forget(self.session, &self.vm)
    }

    /// Undoes it, and says why it had to be.
    pub(super) fn failed(&self, why: EndpointError) -> EndpointError {
        if let Err(error) = undo(self.session, &self.vm) {
            tracing::error!(vm = %self.vm, %error, "what was begun is not undone yet; a reconciliation tries again");
        }
        why
    }

    fn write(&self, told: bool) -> Result<(), EndpointError> {
        let session = self.session;
        let files: Option<Vec<&str>> = self.files.iter().map(|path| path.to_str()).collect();
        let Some(files) = files else {
            let message = "a path is not UTF-8, which libvirt cannot be told";
            return Err(session.error(ErrorKind::InvalidRequest, message));
        };
        let targets: Vec<&str> = self.targets.iter().map(DiskTarget::as_str).collect();
        let text = json!({ "told": told, "targets": targets, "files": files }).to_string();
        let path = session.runtime.work(&self.vm);
        session.runtime.write(session.operation, &path, &self.vm, &text)
    }
}

fn forget(session: &Session<'_>, vm: &VmId) -> Result<(), EndpointError> {
    let path = session.runtime.work(vm);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failure::io(session.operation, &path, e)),
        _ => Ok(()),
    }
}

/// Undoes what is written down for a machine, which the caller holds: a copy that goes on is ended, and files go that no disk needs.
/// After QEMU ended in the middle nobody can say whether a file has the newest data of the guest; then it stays.
pub(super) fn undo(session: &Session<'_>, vm: &VmId) -> Result<(), EndpointError> {
    let path = session.runtime.work(vm);
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text.map_err(|e| failure::io(session.operation, &path, e))?,
    };
    // One that was not written to its end was written before anything was done.
    let work: Value = serde_json::from_str(&text).unwrap_or_default();
    let told = work.get("told").and_then(Value::as_bool).unwrap_or_default();
    let targets: Vec<DiskTarget> = words(&work, "targets")
        .filter_map(|word| word.parse().ok())
        .collect();
    let domain = without_jobs(session, vm, &targets)?;
    for file in words(&work, "files").map(Path::new) {
        let at = DiskLocation::file(file);
        staging::abandon(file).map_err(|e| failure::io(session.operation, file, e))?;
        match &domain {
            Some(domain) if domain.disks.iter().any(|disk| has(disk, &at)) => {}
            None if told => {
                let file = file.display();
                tracing::warn!(%vm, %file, "stays, for the guest may have written to it before it ended");
            }
            _ => discard(session, file)?,
        }
    }
    forget(session, vm)
}

fn words<'w>(work: &'w Value, name: &str) -> impl Iterator<Item = &'w str> {
    let list = work.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// The machine, if it runs, without what was begun with these disks.
fn without_jobs(
    session: &Session<'_>,
    vm: &VmId,
    targets: &[DiskTarget],
) -> Result<Option<LiveDomain>, EndpointError> {
    let (machine, call) = (session.machine(vm), to_its_end());
    let ended = machine
        .abandon_backup(&call)
        .and_then(|()| {
            targets
                .iter()
                .try_for_each(|target| match machine.abandon_disk_job(&call, target) {
                    // It was detached meanwhile.
                    Err(LibvirtError::NoDisk { .. }) => Ok(()),
                    ended => ended,
                })
        })
        .and_then(|()| machine.describe(&call));
    match ended {
        Ok(domain) => Ok(Some(domain)),
        Err(LibvirtError::NoDomain { .. } | LibvirtError::NotRunning { .. }) => Ok(None),
        Err(e) => Err(session.failed(e)),
    }
}

/// Removes a file that a command made, its keyslots first.
pub(super) fn discard(session: &Session<'_>, file: &Path) -> Result<(), EndpointError> {
    let at = DiskLocation::file(file);
    for format in [DiskFormat::Qcow2, DiskFormat::Raw] {
        match keyslots::erase(session.operation, &at, format) {
            Err(e) if !matches!(e.kind(), ErrorKind::WrongDisk | ErrorKind::NotFound) => return Err(e),
            _ => {}
        }
    }
    directory::delete(file)
        .map(drop)
        .map_err(|e| session.error(e.kind(), e.message()))
}
