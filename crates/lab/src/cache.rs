use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use tempfile::NamedTempFile;

use crate::GuestError;
use crate::root::Root;

/// How many roots are kept.
const KEPT: usize = 8;

/// The file by which cargo marks the directory that it builds in (Cache Directory Tagging Specification).
const TAG: &str = "CACHEDIR.TAG";

/// Where built roots are kept.
#[derive(Debug)]
pub(crate) struct Cache(PathBuf);

impl Cache {
    /// In the directory in which cargo built this program, else beside the program.
    pub(crate) fn of(program: &Path) -> Self {
        let beside = program.parent().unwrap_or(program);
        let built = program.ancestors().find(|path| path.join(TAG).is_file());
        Self(built.unwrap_or(beside).join("strongroom-lab"))
    }

    /// Where the running program keeps its own.
    pub(crate) fn of_this_program() -> Result<Self, GuestError> {
        let program =
            std::env::current_exe().map_err(|e| GuestError::io("find", Path::new("the test program"), e))?;
        Ok(Self::of(&program))
    }

    /// The archive of this root, built when it is not there yet.
    ///
    /// Who comes second waits until it is built. An archive has its name only when it is whole. What is handed out is the
    /// open file, so that nobody can take it away.
    pub(crate) fn archive(&self, root: &Root) -> Result<File, GuestError> {
        let _lock = self.lock()?;
        let path = self.build("root", root)?;
        File::open(&path).map_err(|source| GuestError::io("use", &path, source))
    }

    /// A directory of that name among what is kept, filled by `make` when it is not there yet.
    ///
    /// Who comes second waits until it is made. It has its name only when it is whole.
    pub(crate) fn directory<E: From<GuestError>>(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let _lock = self.lock()?;
        let path = self.0.join(name);
        if !path.is_dir() {
            let failed = |source| GuestError::io("use", &path, source);
            let new = tempfile::tempdir_in(&self.0).map_err(failed)?;
            make(new.path())?;
            fs::rename(new.path(), &path).map_err(failed)?;
        }
        Ok(path)
    }

    /// The path of the archive of this root under this name, built when it is not there yet. It stays until eight others were
    /// used under that name.
    pub(crate) fn path_of(&self, name: &str, root: &Root) -> Result<PathBuf, GuestError> {
        let _lock = self.lock()?;
        self.build(name, root)
    }

    fn lock(&self) -> Result<File, GuestError> {
        fs::create_dir_all(&self.0).map_err(|source| GuestError::io("use", &self.0, source))?;
        let path = self.0.join("lock");
        File::create(&path)
            .and_then(|lock| {
                flock(&lock, FlockOperation::LockExclusive)
                    .map(|()| lock)
                    .map_err(Into::into)
            })
            .map_err(|source| GuestError::io("use", &path, source))
    }

    /// Builds the archive unless it is there.
    fn build(&self, name: &str, root: &Root) -> Result<PathBuf, GuestError> {
        let path = self.0.join(format!("{name}-{}.cpio", root.key()));
        let failed = |source| GuestError::io("use", &path, source);
        if !path.is_file() {
            let new = NamedTempFile::new_in(&self.0).map_err(failed)?;
            root.write(new.reopen().map_err(failed)?)?;
            new.persist(&path).map_err(|e| failed(e.error))?;
        }
        // The time of the last use decides which are removed. Who may not change it uses it all the same.
        let _ = File::options()
            .append(true)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::now()));
        self.remove_oldest(name);
        Ok(path)
    }

    /// Keeps those used last. One that cannot be removed is in nobody's way.
    fn remove_oldest(&self, name: &str) {
        let prefix = format!("{name}-");
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut roots: Vec<(SystemTime, PathBuf)> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        roots.sort();
        let surplus = roots.len().saturating_sub(KEPT);
        for (_, path) in roots.into_iter().take(surplus) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use super::*;

    fn cache(place: &Path) -> Cache {
        fs::create_dir_all(place.join("debug/deps")).unwrap();
        fs::write(place.join(TAG), "").unwrap();
        Cache::of(&place.join("debug/deps/test-0123"))
    }

    fn root(text: &str) -> Root {
        let mut root = Root::new();
        root.text("/etc/name", 0o644, text);
        root
    }

    fn names(cache: &Cache) -> Vec<String> {
        let names = fs::read_dir(&cache.0).unwrap().flatten();
        let mut names: Vec<_> = names
            .map(|e| e.file_name().into_string().unwrap())
            .filter(|name| name != "lock")
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_archive_is_built_once_where_cargo_builds() {
        let place = tempfile::tempdir().unwrap();
        let cache = cache(place.path());
        assert_eq!(cache.0, place.path().join("strongroom-lab"));
        let mut first = String::new();
        cache
            .archive(&root("a"))
            .unwrap()
            .read_to_string(&mut first)
            .unwrap();
        assert!(first.starts_with("070701") && first.contains("TRAILER!!!"));
        // What is there is taken as it is.
        let path = cache.0.join(&names(&cache)[0]);
        fs::write(&path, "built before").unwrap();
        let mut second = String::new();
        cache
            .archive(&root("a"))
            .unwrap()
            .read_to_string(&mut second)
            .unwrap();
        assert_eq!(second, "built before");
    }

    #[test]
    fn only_those_used_last_are_kept_and_an_open_one_can_still_be_read() {
        let place = tempfile::tempdir().unwrap();
        let cache = cache(place.path());
        let mut oldest = cache.archive(&root("oldest")).unwrap();
        let path = cache.0.join(&names(&cache)[0]);
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        for number in 0..KEPT {
            cache.archive(&root(&number.to_string())).unwrap();
        }
        assert_eq!(names(&cache).len(), KEPT);
        assert!(!path.exists());
        let mut text = String::new();
        oldest.read_to_string(&mut text).unwrap();
        assert!(text.contains("oldest"));
    }

    #[test]
    fn two_who_want_the_same_root_build_it_one_after_the_other() {
        let place = tempfile::tempdir().unwrap();
        let cache = cache(place.path());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut text = String::new();
                    cache
                        .archive(&root("one"))
                        .unwrap()
                        .read_to_string(&mut text)
                        .unwrap();
                    assert!(
                        text.ends_with("TRAILER!!!\0\0\0\0"),
                        "{:?}",
                        &text[text.len() - 20..]
                    );
                });
            }
        });
        assert_eq!(names(&cache).len(), 1);
    }
}
