//! Which directories are taken: what lies in one of them would be taken for its owner's, and be removed with it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use strongroom_types::PoolId;

use crate::drivers::DIRECTORY;
use crate::mounted::OnFileSystem;
use crate::session::Session;

#[derive(Debug, Clone)]
enum Owner {
    State,
    Pool(PoolId),
}

/// The state directory and the directories of pools.
#[derive(Debug)]
pub(crate) struct Places(Vec<(Owner, PathBuf)>);

impl Places {
    pub(crate) fn of(session: &Session) -> Result<Self> {
        let mut places = vec![(Owner::State, session.state.path().to_owned())];
        let remote = session.remote_hosts()?;
        for pool in session.control.pools()? {
            // What has this path here is something else.
            if remote.have(&pool.id) {
                continue;
            }
            if let Some(directory) = pool.settings.get(DIRECTORY) {
                places.push((Owner::Pool(pool.id), PathBuf::from(directory)));
            }
        }
        Ok(Self(places))
    }

    /// The same without the state directory.
    pub(crate) fn pools_only(mut self) -> Self {
        self.0.retain(|(owner, _)| matches!(owner, Owner::Pool(_)));
        self
    }

    /// Refuses a new file in one of them.
    pub(crate) fn refuse_file(&self, file: &Path) -> Result<()> {
        let parent = file.parent().unwrap_or(Path::new("/"));
        match self.around(parent, None) {
            None => Ok(()),
            Some((Owner::State, path)) => bail!(
                "{} would lie in the state directory {}; name another directory",
                file.display(),
                path.display()
            ),
            Some((Owner::Pool(pool), path)) => bail!(
                "{} would lie in {}, the directory of pool {pool}, which has its volumes and nothing else; name another directory",
                file.display(),
                path.display()
            ),
        }
    }

    /// Refuses to read a file of the state directory as an image: the database has the sealed keys.
    pub(crate) fn refuse_source(&self, file: &Path) -> Result<()> {
        let state = self.0.iter().find(|(owner, _)| matches!(owner, Owner::State));
        match state.filter(|(_, path)| is_around(path, file)) {
            None => Ok(()),
            Some((_, path)) => bail!(
                "{} lies in the state directory {}, which has no images; name a file elsewhere",
                file.display(),
                path.display()
            ),
        }
    }

    /// Refuses a directory for a pool that lies in one of them, or in which one of them lies.
    pub(crate) fn refuse_pool(&self, directory: &Path, own: &PoolId) -> Result<()> {
        let said = directory.display();
        if let Some((owner, path)) = self.around(directory, Some(own)) {
            let path = path.display();
            match owner {
                Owner::State => {
                    bail!("{said} lies in the state directory {path}; name a directory outside of it")
                }
                Owner::Pool(pool) => bail!(
                    "{said} lies in {path}, the directory of pool {pool}; give each pool a directory of its own, beside the others"
                ),
            }
        }
        let inside = self
            .others(Some(own))
            .find(|(_, path)| is_around(directory, path));
        match inside {
            None => Ok(()),
            Some((Owner::State, path)) => bail!(
                "the state directory {} lies in {said}; give the pool a directory of its own",
                path.display()
            ),
            Some((Owner::Pool(pool), path)) => bail!(
                "{}, the directory of pool {pool}, lies in {said}; give each pool a directory of its own, beside the others",
                path.display()
            ),
        }
    }

    fn others<'a>(&'a self, own: Option<&'a PoolId>) -> impl Iterator<Item = &'a (Owner, PathBuf)> {
        self.0
            .iter()
            .filter(move |(owner, _)| !matches!(owner, Owner::Pool(pool) if Some(pool) == own))
    }

    /// The one that a directory is, or lies in.
    fn around<'a>(&'a self, directory: &Path, own: Option<&'a PoolId>) -> Option<&'a (Owner, PathBuf)> {
        self.others(own).find(|(_, place)| is_around(place, directory))
    }
}

/// Whether a directory is `path` or lies in it, by whatever symlinks and mounts, bind mounts included. What is not there is in nothing.
fn is_around(path: &Path, directory: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino()));
    let (Ok(outer), Ok(real)) = (identity(path), fs::canonicalize(directory)) else {
        return false;
    };
    if real
        .ancestors()
        .any(|up| identity(up).is_ok_and(|there| there == outer))
    {
        return true;
    }
    let outer = fs::canonicalize(path)
        .ok()
        .and_then(|path| OnFileSystem::of(&path));
    match (outer, OnFileSystem::of(&real)) {
        (Some(outer), Some(inner)) => outer.is_around(&inner),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_around_itself_and_what_is_in_it_by_any_name() {
        let place = tempfile::tempdir().unwrap();
        let (pool, inner) = (place.path().join("pool"), place.path().join("pool/a/b"));
        let (beside, link) = (place.path().join("pool2"), place.path().join("link"));
        fs::create_dir_all(&inner).unwrap();
        fs::create_dir(&beside).unwrap();
        std::os::unix::fs::symlink(&inner, &link).unwrap();
        for (directory, expected) in [(&pool, true), (&inner, true), (&link, true), (&beside, false)] {
            assert_eq!(is_around(&pool, directory), expected, "{directory:?}");
        }
        assert!(!is_around(&inner, &pool));
        assert!(!is_around(&place.path().join("none"), &pool));
    }
}
