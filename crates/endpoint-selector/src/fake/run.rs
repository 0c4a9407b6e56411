use std::hash::BuildHasher;
use std::path::Path;

use strongroom_types::{Call, DiskFormat, HostFacts, Interrupted};

use super::disk::{FakeDisk, error};
use super::{MemoryEndpoint, State, lock, machine};
use crate::{
    BackUpHeader, BaseImage, CompareContent, ContentDigest, ContentSource, DigestContent, Disk, DiskContent,
    Endpoint, EndpointError, EraseKeyslots, ErrorKind, HostAnswer, HostCommand, InspectDisk, Protection,
    Sameness, Verification,
};

fn content_path<'a>(source: &ContentSource<'a>) -> &'a Path {
    match source {
        ContentSource::Image(image) => image.path,
        ContentSource::Disk(disk) | ContentSource::Declassified(disk, _) => disk.location.path(),
    }
}

/// Every path that a command names.
fn paths<'a>(command: &HostCommand<'a>) -> [Option<&'a Path>; 2] {
    let one = |path| [Some(path), None];
    match *command {
        HostCommand::OpenDirectory(c) => one(c.path),
        HostCommand::MarkDirectory(c) => one(c.path),
        HostCommand::MakeDirectory(c) => one(c.path),
        HostCommand::ListDirectory(c) => one(c.path),
        HostCommand::IdentifyDevice(c) => one(c.path),
        HostCommand::RescanDevice(c) => one(c.path),
        HostCommand::CreateDisk(c) => match c.content {
            DiskContent::Blank => one(c.path),
            DiskContent::Template(source) | DiskContent::Overlay(source) => [Some(c.path), Some(source.path)],
            DiskContent::Copy(disk) | DiskContent::Declassified(disk, _) => {
                [Some(c.path), Some(disk.location.path())]
            }
        },
        HostCommand::FormatDevice(c) => one(c.location.path()),
        HostCommand::FormatQcow2(c) => [Some(c.location.path()), c.base.map(|base| base.path)],
        HostCommand::ProveBlank(c) => one(c.location.path()),
        HostCommand::BlankDevice(c) => one(c.location.path()),
        HostCommand::InspectDisk(c) => [Some(c.location.path()), c.base_in],
        HostCommand::VerifyDisk(c) => one(c.disk.location.path()),
        HostCommand::GrowDisk(c) => one(c.disk.location.path()),
        HostCommand::ShrinkDisk(c) => one(c.disk.location.path()),
        HostCommand::FlattenDisk(c) => one(c.disk.location.path()),
        HostCommand::SnapshotDisk(c) => one(c.disk.location.path()),
        HostCommand::ReplaceContent(c) => [Some(c.disk.location.path()), Some(content_path(&c.source))],
        HostCommand::CompareContent(c) => [Some(c.disk.location.path()), Some(content_path(&c.with))],
        HostCommand::DigestContent(c) => one(c.disk.location.path()),
        HostCommand::BackUpHeader(c) => [Some(c.disk.location.path()), Some(c.to)],
        HostCommand::EraseKeyslots(c) => one(c.location.path()),
        HostCommand::DeleteDisk(c) => one(c.path),
        HostCommand::SweepStaging(c) => one(c.path),
        HostCommand::Vm(_) => [None, None],
    }
}

impl State {
    pub(super) fn fingerprint(&self, protection: Protection<'_>) -> Option<u64> {
        protection
            .key()
            .map(|key| self.fingerprints.hash_one(key.expose_secret()))
    }

    pub(super) fn is_taken(&self, path: &Path) -> bool {
        self.disks.contains_key(path) || self.files.contains(path)
    }

    /// The disk that a command names, if it is what the command says and its key opens it.
    pub(super) fn opened(
        &mut self,
        name: &'static str,
        disk: &Disk<'_>,
    ) -> Result<&mut FakeDisk, EndpointError> {
        let key = self.fingerprint(disk.protection);
        if let Some(base) = disk.base {
            self.base_is_there(name, base.path)?;
        }
        let there = self.at(name, disk.location)?;
        there.matches(name, disk.format, disk.protection.format())?;
        there.lies_on(name, disk.base)?;
        there.open(name, key)?;
        Ok(there)
    }

    /// Opens a disk that nobody uses, changes it, and says what it then is.
    fn change(
        &mut self,
        name: &'static str,
        disk: &Disk<'_>,
        change: impl FnOnce(&mut FakeDisk) -> Result<(), EndpointError>,
    ) -> Result<HostAnswer, EndpointError> {
        self.free(name, disk.location)?;
        self.grown(name, disk, change)
    }

    fn grown(
        &mut self,
        name: &'static str,
        disk: &Disk<'_>,
        change: impl FnOnce(&mut FakeDisk) -> Result<(), EndpointError>,
    ) -> Result<HostAnswer, EndpointError> {
        let there = self.opened(name, disk)?;
        change(there)?;
        Ok(HostAnswer::Disk(there.facts()))
    }

    fn inspect(&mut self, name: &'static str, c: &InspectDisk<'_>) -> Result<HostAnswer, EndpointError> {
        if let (Some(facts), None) = (self.image_facts(name, c)?, c.encryption) {
            return Ok(HostAnswer::Disk(facts));
        }
        let disk = self.at(name, c.location)?;
        disk.matches(name, c.format, c.encryption)?;
        disk.lies_in(name, c.base_in)?;
        Ok(HostAnswer::Disk(disk.facts()))
    }

    fn compare(&mut self, name: &'static str, c: &CompareContent<'_>) -> Result<HostAnswer, EndpointError> {
        let content = self.read(name, &c.disk)?;
        let disk = self.opened(name, &c.disk)?.clone();
        let with = self.content(name, &c.with, &disk)?;
        Ok(HostAnswer::Compared(if content.reads_as(&with) {
            Sameness::Identical
        } else {
            Sameness::Different
        }))
    }

    fn digest(&mut self, name: &'static str, c: &DigestContent<'_>) -> Result<HostAnswer, EndpointError> {
        let content = self.read(name, &c.disk)?;
        let guest = self.opened(name, &c.disk)?.guest();
        let first = c.first.unwrap_or(guest);
        if first > guest {
            let message = format!("{} has only {} bytes", c.disk.location, guest.get());
            return Err(error(ErrorKind::InvalidRequest, name, message));
        }
        let digest = content.first(first.get()).digest();
        Ok(HostAnswer::Digest(ContentDigest::new(digest, first)))
    }

    fn back_up(&mut self, name: &'static str, c: &BackUpHeader<'_>) -> Result<HostAnswer, EndpointError> {
        if c.disk.format != DiskFormat::Raw || c.disk.protection.key().is_none() {
            let message = format!("{} has no LUKS header in front", c.disk.location);
            return Err(error(ErrorKind::Unsupported, name, message));
        }
        self.opened(name, &c.disk)?;
        if self.disks.contains_key(c.to) || !self.files.insert(c.to.to_owned()) {
            let message = format!("{} is there already and stays", c.to.display());
            return Err(error(ErrorKind::AlreadyExists, name, message));
        }
        Ok(HostAnswer::Done)
    }

    fn erase(&mut self, name: &'static str, c: &EraseKeyslots<'_>) -> Result<HostAnswer, EndpointError> {
        if !self.disks.contains_key(c.location.path()) {
            return Ok(HostAnswer::Done);
        }
        self.free(name, c.location)?;
        let disk = self.at(name, c.location)?;
        if !disk.is_encrypted(c.format) {
            let message = format!("{} is no encrypted {} disk", c.location, c.format);
            return Err(error(ErrorKind::WrongDisk, name, message));
        }
        disk.key = None;
        Ok(HostAnswer::Done)
    }

    fn delete(&mut self, name: &'static str, path: &Path) -> Result<HostAnswer, EndpointError> {
        if self.devices.contains_key(path) {
            let message = format!("{} is not a regular file and stays", path.display());
            return Err(error(ErrorKind::WrongDisk, name, message));
        }
        self.no_machine_has(name, path)?;
        if self.disks.remove(path).is_some() {
            self.gone.insert(path.to_owned());
        }
        self.files.remove(path);
        Ok(HostAnswer::Done)
    }

    fn carry_out(
        &mut self,
        name: &'static str,
        command: &HostCommand<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        match command {
            HostCommand::OpenDirectory(c) => {
                self.directory_at(name, c.path)?;
                Ok(HostAnswer::Directory(self.directory(c.path)))
            }
            HostCommand::MarkDirectory(c) => self.mark(name, c),
            HostCommand::MakeDirectory(c) => self.directory_at(name, c.path),
            HostCommand::ListDirectory(c) => self.directory_at(name, c.path).map(|_| self.names(c.path)),
            HostCommand::IdentifyDevice(c) => self.identify(name, c.path),
            HostCommand::RescanDevice(c) => self.rescan(name, c.path),
            HostCommand::CreateDisk(c) => self.create(name, c),
            HostCommand::FormatDevice(c) => self.format(name, c),
            HostCommand::FormatQcow2(c) => self.format_qcow2(name, c),
            HostCommand::BlankDevice(c) => self.blank_device(name, c),
            HostCommand::ProveBlank(c) => self.prove_blank(name, c),
            HostCommand::InspectDisk(c) => self.inspect(name, c),
            HostCommand::VerifyDisk(c) => {
                if c.disk.format == DiskFormat::Qcow2 {
                    self.free(name, c.disk.location)?;
                }
                let facts = self.opened(name, &c.disk)?.facts();
                let checked = vec!["in memory".to_owned()];
                Ok(HostAnswer::Verified(Verification::new(facts, checked)))
            }
            // A device grows while a guest runs on it.
            HostCommand::GrowDisk(c) => {
                self.not_in_a_machine(name, c.disk.location, c.disk.format)?;
                self.grown(name, &c.disk, |disk| disk.grow(name, c.to))
            }
            HostCommand::ShrinkDisk(c) => self.change(name, &c.disk, |disk| disk.shrink(name, c.to)),
            HostCommand::FlattenDisk(c) => self.flatten(name, &c.disk),
            HostCommand::SnapshotDisk(c) => {
                self.change(name, &c.disk, |disk| disk.snapshot(name, c.snapshot, c.action))
            }
            HostCommand::ReplaceContent(c) => self.replace(name, c),
            HostCommand::CompareContent(c) => self.compare(name, c),
            HostCommand::DigestContent(c) => self.digest(name, c),
            HostCommand::BackUpHeader(c) => self.back_up(name, c),
            HostCommand::EraseKeyslots(c) => self.erase(name, c),
            HostCommand::DeleteDisk(c) => self.delete(name, c.path),
            HostCommand::SweepStaging(_) => Ok(HostAnswer::Swept(Vec::new())),
            HostCommand::Vm(c) => self.machine_command(name, c),
        }
    }

    /// A disk that stands alone already is fine, whatever base the command names.
    fn flatten(&mut self, name: &'static str, disk: &Disk<'_>) -> Result<HostAnswer, EndpointError> {
        let alone = self
            .at(name, disk.location)?
            .base()
            .map(BaseImage::source)
            .is_none();
        let disk = if alone { disk.on(None) } else { *disk };
        self.change(name, &disk, |there| {
            there.set_base(None);
            Ok(())
        })
    }
}

impl Endpoint for MemoryEndpoint {
    fn host(&self) -> HostFacts {
        self.facts.clone()
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        let name = command.name();
        lock(&self.state).commands.push(name.to_owned());
        if let Some(error) = lock(&self.fault).as_mut().and_then(|fault| fault(command)) {
            return Err(error);
        }
        call.check().map_err(|e| {
            let kind = match e {
                Interrupted::Cancelled => ErrorKind::Cancelled,
                Interrupted::Deadline => ErrorKind::Deadline,
            };
            EndpointError::new(kind, name, "nothing was done")
        })?;
        let mut paths: Vec<_> = paths(command).into_iter().flatten().collect();
        if let HostCommand::Vm(command) = command {
            paths = machine::paths(command);
        }
        if let Some(path) = paths.into_iter().find(|path| !path.is_absolute()) {
            let message = format!("{:?} is not an absolute path", path.display());
            return Err(EndpointError::new(ErrorKind::InvalidRequest, name, message));
        }
        let answer = lock(&self.state).carry_out(name, command)?;
        match lock(&self.lost_answer).as_mut().and_then(|fault| fault(command)) {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }
}
