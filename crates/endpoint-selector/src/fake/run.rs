use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

use strongroom_types::{Call, DiskFormat, HostFacts, Interrupted};

use super::disk::FakeDisk;
use super::{MemoryEndpoint, State, lock};
use crate::{
    BackUpHeader, ContentSource, CreateDisk, Disk, DiskContent, DiskLocation, Endpoint, EndpointError,
    EraseKeyslots, ErrorKind, FormatDevice, HostAnswer, HostCommand, Protection, SourceImage, Verification,
};

fn existing<'d>(
    disks: &'d mut BTreeMap<PathBuf, FakeDisk>,
    operation: &'static str,
    path: &Path,
) -> Result<&'d mut FakeDisk, EndpointError> {
    disks.get_mut(path).ok_or_else(|| {
        let message = format!("no disk at {}", path.display());
        EndpointError::new(ErrorKind::NotFound, operation, message)
    })
}

fn taken(operation: &'static str, path: &Path) -> EndpointError {
    let message = format!("{} is there already and stays", path.display());
    EndpointError::new(ErrorKind::AlreadyExists, operation, message)
}

fn content_path<'a>(source: &ContentSource<'a>) -> &'a Path {
    match source {
        ContentSource::Image(image) => image.path,
        ContentSource::Disk(disk) => disk.location.path(),
    }
}

/// Every path that a command names.
fn paths<'a>(command: &HostCommand<'a>) -> [Option<&'a Path>; 2] {
    match *command {
        HostCommand::OpenDirectory(c) => [Some(c.path), None],
        HostCommand::CreateDisk(c) => match c.content {
            DiskContent::Blank => [Some(c.path), None],
            DiskContent::Template(source) | DiskContent::Overlay(source) => [Some(c.path), Some(source.path)],
            DiskContent::Copy(disk) | DiskContent::Declassified(disk, _) => {
                [Some(c.path), Some(disk.location.path())]
            }
        },
        HostCommand::FormatDevice(c) => [Some(c.location.path()), None],
        HostCommand::InspectDisk(c) => [Some(c.location.path()), None],
        HostCommand::VerifyDisk(c) => [Some(c.disk.location.path()), None],
        HostCommand::GrowDisk(c) => [Some(c.disk.location.path()), None],
        HostCommand::SnapshotDisk(c) => [Some(c.disk.location.path()), None],
        HostCommand::ReplaceContent(c) => [Some(c.disk.location.path()), Some(content_path(&c.source))],
        HostCommand::CompareContent(c) => [Some(c.disk.location.path()), Some(content_path(&c.with))],
        HostCommand::BackUpHeader(c) => [Some(c.disk.location.path()), Some(c.to)],
        HostCommand::EraseKeyslots(c) => [Some(c.location.path()), None],
        HostCommand::DeleteDisk(c) => [Some(c.path), None],
        HostCommand::SweepStaging(c) => [Some(c.path), None],
        HostCommand::MarkDirectory(c) => [Some(c.path), None],
        HostCommand::MakeDirectory(c) => [Some(c.path), None],
        HostCommand::ListDirectory(c) => [Some(c.path), None],
        HostCommand::IdentifyDevice(c) => [Some(c.path), None],
        HostCommand::RescanDevice(c) => [Some(c.path), None],
        HostCommand::FormatQcow2(c) => [Some(c.location.path()), None],
        HostCommand::ShrinkDisk(c) => [Some(c.disk.location.path()), None],
        HostCommand::FlattenDisk(c) => [Some(c.disk.location.path()), None],
        HostCommand::DigestContent(c) => [Some(c.disk.location.path()), None],
    }
}

impl State {
    fn image_size(&self, source: &SourceImage<'_>) -> Option<u64> {
        self.images.get(source.path).map(|size| size.get())
    }

    fn content_size(&self, source: &ContentSource<'_>) -> Option<u64> {
        match source {
            ContentSource::Image(image) => self.image_size(image),
            ContentSource::Disk(disk) => self
                .disks
                .get(disk.location.path())
                .map(|there| there.facts().guest.get()),
        }
    }

    fn create(
        &mut self,
        name: &'static str,
        c: &CreateDisk<'_>,
        key: Option<u64>,
    ) -> Result<HostAnswer, EndpointError> {
        if self.disks.contains_key(c.path) || self.files.contains(c.path) {
            return Err(taken(name, c.path));
        }
        let location = DiskLocation::File(c.path.to_owned());
        let mut disk = FakeDisk::new(name, location, c.format, c.guest, c.protection, key)?;
        if let DiskContent::Template(source) = c.content {
            disk.replace(name, source.path, self.image_size(&source))?;
        }
        let facts = disk.facts();
        self.disks.insert(c.path.to_owned(), disk);
        Ok(HostAnswer::Disk(facts))
    }

    fn format(
        &mut self,
        name: &'static str,
        c: &FormatDevice<'_>,
        key: Option<u64>,
    ) -> Result<HostAnswer, EndpointError> {
        let disk = existing(&mut self.disks, name, c.location.path())?;
        *disk = disk.formatted(name, c, key)?;
        Ok(HostAnswer::Disk(disk.facts()))
    }

    fn back_up(
        &mut self,
        name: &'static str,
        c: &BackUpHeader<'_>,
        key: Option<u64>,
    ) -> Result<HostAnswer, EndpointError> {
        if c.disk.format != DiskFormat::Raw || c.disk.protection.key().is_none() {
            let message = format!("{} has no LUKS header in front", c.disk.location);
            return Err(EndpointError::new(ErrorKind::Unsupported, name, message));
        }
        self.opened(name, &c.disk, key)?;
        if self.disks.contains_key(c.to) || !self.files.insert(c.to.to_owned()) {
            return Err(taken(name, c.to));
        }
        Ok(HostAnswer::Done)
    }

    fn erase(&mut self, name: &'static str, c: &EraseKeyslots<'_>) -> Result<HostAnswer, EndpointError> {
        let Some(disk) = self.disks.get_mut(c.location.path()) else {
            return Ok(HostAnswer::Done);
        };
        if !disk.is_encrypted(c.format) {
            let message = format!("{} is no encrypted {} disk", c.location, c.format);
            return Err(EndpointError::new(ErrorKind::WrongDisk, name, message));
        }
        disk.key = None;
        Ok(HostAnswer::Done)
    }

    fn delete(&mut self, name: &'static str, path: &Path) -> Result<HostAnswer, EndpointError> {
        if self.disks.get(path).is_some_and(FakeDisk::is_device) {
            let message = format!("{} is not a regular file and stays", path.display());
            return Err(EndpointError::new(ErrorKind::WrongDisk, name, message));
        }
        self.disks.remove(path);
        self.files.remove(path);
        Ok(HostAnswer::Done)
    }

    /// The disk that a command names, if it is what the command says and its key opens it.
    fn opened(
        &mut self,
        name: &'static str,
        disk: &Disk<'_>,
        key: Option<u64>,
    ) -> Result<&mut FakeDisk, EndpointError> {
        let there = existing(&mut self.disks, name, disk.location.path())?;
        there.matches(name, disk.format, disk.protection.format())?;
        there.open(name, key)?;
        Ok(there)
    }
}

impl MemoryEndpoint {
    fn fingerprint(&self, protection: Protection<'_>) -> Option<u64> {
        protection
            .key()
            .map(|key| self.fingerprints.hash_one(key.expose_secret()))
    }

    fn carry_out(&self, name: &'static str, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        let mut state = lock(&self.state);
        match command {
            HostCommand::OpenDirectory(c) => Ok(HostAnswer::Directory(Self::directory(&state, c.path))),
            HostCommand::CreateDisk(c) => state.create(name, c, self.fingerprint(c.protection)),
            HostCommand::FormatDevice(c) => {
                let protection = Protection::Luks {
                    format: c.format,
                    key: c.key,
                };
                state.format(name, c, self.fingerprint(protection))
            }
            HostCommand::InspectDisk(c) => {
                let disk = existing(&mut state.disks, name, c.location.path())?;
                disk.matches(name, c.format, c.encryption)?;
                Ok(HostAnswer::Disk(disk.facts()))
            }
            HostCommand::VerifyDisk(c) => {
                let disk = state.opened(name, &c.disk, self.fingerprint(c.disk.protection))?;
                Ok(HostAnswer::Verified(Verification::new(
                    disk.facts(),
                    vec!["in memory".to_owned()],
                )))
            }
            HostCommand::GrowDisk(c) => {
                let disk = state.opened(name, &c.disk, self.fingerprint(c.disk.protection))?;
                disk.grow(name, c.to)?;
                Ok(HostAnswer::Disk(disk.facts()))
            }
            HostCommand::SnapshotDisk(c) => {
                let disk = state.opened(name, &c.disk, self.fingerprint(c.disk.protection))?;
                disk.snapshot(name, c.snapshot, c.action)?;
                Ok(HostAnswer::Disk(disk.facts()))
            }
            HostCommand::ReplaceContent(c) => {
                let size = state.content_size(&c.source);
                let disk = state.opened(name, &c.disk, self.fingerprint(c.disk.protection))?;
                disk.replace(name, content_path(&c.source), size)?;
                Ok(HostAnswer::Disk(disk.facts()))
            }
            HostCommand::CompareContent(c) => {
                let size = state.content_size(&c.with);
                let disk = state.opened(name, &c.disk, self.fingerprint(c.disk.protection))?;
                disk.compare(name, content_path(&c.with), size)
                    .map(HostAnswer::Compared)
            }
            HostCommand::BackUpHeader(c) => state.back_up(name, c, self.fingerprint(c.disk.protection)),
            HostCommand::EraseKeyslots(c) => state.erase(name, c),
            HostCommand::DeleteDisk(c) => state.delete(name, c.path),
            HostCommand::SweepStaging(_) => Ok(HostAnswer::Swept(Vec::new())),
            other => {
                let message = "not in memory";
                Err(EndpointError::new(ErrorKind::Unsupported, other.name(), message))
            }
        }
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
        if let Some(path) = paths(command)
            .into_iter()
            .flatten()
            .find(|path| !path.is_absolute())
        {
            let message = format!("{:?} is not an absolute path", path.display());
            return Err(EndpointError::new(ErrorKind::InvalidRequest, name, message));
        }
        let answer = self.carry_out(name, command)?;
        match lock(&self.lost_answer).as_mut().and_then(|fault| fault(command)) {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }
}
