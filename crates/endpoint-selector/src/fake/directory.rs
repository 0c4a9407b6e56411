use std::path::Path;

use strongroom_types::ByteSize;

use super::State;
use super::disk::error;
use crate::{DirectoryFacts, EndpointError, ErrorKind, HostAnswer, MarkDirectory};

impl State {
    /// What a directory is. A mark stays with its file system: another one at the same path has its own.
    pub(super) fn directory(&self, path: &Path) -> DirectoryFacts {
        let mut facts = self.directories.get(path).cloned().unwrap_or_else(|| {
            let (total, free) = (ByteSize::gib(1000), ByteSize::gib(900));
            DirectoryFacts::new(path.to_owned(), 1, "memory".to_owned(), total, free, true)
        });
        if facts.pool.is_none() {
            let mark = self.marks.get(&(path.to_owned(), facts.file_system));
            if let Some((pool, owner)) = mark.cloned() {
                (facts.pool, facts.owner) = (Some(pool), owner);
            }
        }
        facts
    }

    pub(super) fn mark(
        &mut self,
        operation: &'static str,
        c: &MarkDirectory<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        let (path, pool) = (c.path, c.pool);
        self.directory_at(operation, path)?;
        let facts = self.directory(path);
        let same_owner = c.owner.is_none() || facts.owner.as_ref() == c.owner;
        match &facts.pool {
            Some(there) if there == pool && same_owner => {}
            Some(there) if there == pool && (facts.owner.is_none() || c.take_over) => {
                drop(self.marks.insert(
                    (path.to_owned(), facts.file_system),
                    (pool.clone(), c.owner.cloned()),
                ))
            }
            Some(there) if there == pool => {
                let message = format!(
                    "{} is that pool of another installation; take it over",
                    path.display()
                );
                return Err(error(ErrorKind::AlreadyExists, operation, message));
            }
            Some(other) => {
                let message = format!("{} is pool {other}'s and stays that", path.display());
                return Err(error(ErrorKind::AlreadyExists, operation, message));
            }
            None if !facts.writable => {
                let message = format!("nothing can be written in {}", path.display());
                return Err(error(ErrorKind::PermissionDenied, operation, message));
            }
            None => drop(self.marks.insert(
                (path.to_owned(), facts.file_system),
                (pool.clone(), c.owner.cloned()),
            )),
        }
        Ok(HostAnswer::Directory(self.directory(path)))
    }

    pub(super) fn directory_at(
        &self,
        operation: &'static str,
        path: &Path,
    ) -> Result<HostAnswer, EndpointError> {
        if self.is_taken(path) || self.images.contains_key(path) {
            let message = format!("{} is not a directory", path.display());
            return Err(error(ErrorKind::InvalidRequest, operation, message));
        }
        Ok(HostAnswer::Done)
    }

    pub(super) fn names(&self, path: &Path) -> HostAnswer {
        let disks = self.disks.iter().filter(|(_, disk)| !disk.is_device());
        let files = disks
            .map(|(at, _)| at)
            .chain(&self.files)
            .chain(self.images.keys());
        let inside = files.filter(|at| at.parent() == Some(path));
        let names = inside.filter_map(|at| at.file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names.dedup();
        HostAnswer::Names(names)
    }
}
