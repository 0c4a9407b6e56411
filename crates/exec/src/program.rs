use std::fmt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::quote::Quoted;

/// Where programs are looked for, in this order. `PATH` is not consulted.
pub const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// A program by its absolute path. It is shown as a shell would have to be told the path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program(PathBuf);

/// No such program, or none that this process may execute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} {obstacle}")]
#[non_exhaustive]
pub struct ProgramNotFound {
    /// What was looked for: a name or a path, quoted as for a shell where it is unusual.
    pub name: String,
    /// What stands in the way.
    pub obstacle: Obstacle,
}

/// What stands in the way of using a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// No directory in which programs are looked for has it.
    #[error("is not installed: looked in {}", DIRECTORIES.join(", "))]
    NotInstalled,
    /// Nothing can be seen at the path.
    #[error("does not exist or is not reachable")]
    Missing,
    /// A name is needed, and this is none: it is empty or has a slash.
    #[error("is not a program's name; say where it is with an absolute path")]
    NotAName,
    /// An absolute path is needed, and this is a relative one.
    #[error("is not an absolute path")]
    Relative,
    /// There is something that is not a regular file.
    #[error("cannot be executed: {} is not a regular file", Quoted(.0.as_os_str()))]
    NotAFile(PathBuf),
    /// There is a file that this process has no permission to execute.
    #[error("cannot be executed: no permission to execute {}", Quoted(.0.as_os_str()))]
    NotExecutable(PathBuf),
}

impl Obstacle {
    /// What keeps the current user from executing what is at the path, if anything does.
    fn at(path: &Path) -> Result<(), Self> {
        match path.metadata() {
            Err(_) => Err(Self::Missing),
            Ok(found) if !found.is_file() => Err(Self::NotAFile(path.to_owned())),
            Ok(_) => accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
                .map_err(|_| Self::NotExecutable(path.to_owned())),
        }
    }
}

impl Program {
    /// Looks in the fixed [`DIRECTORIES`].
    ///
    /// # Errors
    /// [`ProgramNotFound`] when none has an executable file of that name, and what it has instead.
    pub fn find(name: &str) -> Result<Self, ProgramNotFound> {
        Self::find_in(&DIRECTORIES, name)
    }

    fn find_in(directories: &[&str], name: &str) -> Result<Self, ProgramNotFound> {
        let refused = |obstacle| ProgramNotFound {
            name: Quoted(name.as_ref()).to_string(),
            obstacle,
        };
        if name.is_empty() || name.contains('/') {
            return Err(refused(Obstacle::NotAName));
        }
        let mut nearest = Obstacle::NotInstalled;
        for directory in directories {
            let path = Path::new(directory).join(name);
            match Obstacle::at(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(Obstacle::Missing) => {}
                Err(other) if nearest == Obstacle::NotInstalled => nearest = other,
                Err(_) => {}
            }
        }
        Err(refused(nearest))
    }

    /// The program at this absolute path.
    ///
    /// # Errors
    /// [`ProgramNotFound`] when the path is relative or no executable file is there.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, ProgramNotFound> {
        let path = path.into();
        let obstacle = if path.is_relative() {
            Err(Obstacle::Relative)
        } else {
            Obstacle::at(&path)
        };
        match obstacle {
            Ok(()) => Ok(Self(path)),
            Err(obstacle) => Err(ProgramNotFound {
                name: Quoted(path.as_os_str()).to_string(),
                obstacle,
            }),
        }
    }

    /// Without looking whether it is there. For fakes, which execute nothing.
    pub(crate) fn unchecked(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Quoted(self.0.as_os_str()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(path: &Path, mode: u32) {
        File::create(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_directory_with_an_executable_file_has_the_program() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directories = [one.path().to_str().unwrap(), two.path().to_str().unwrap()];
        let find = || Program::find_in(&directories, "tool");
        assert_eq!(find().unwrap_err().obstacle, Obstacle::NotInstalled);

        fs::create_dir(two.path().join("tool")).unwrap();
        assert_eq!(
            find().unwrap_err().obstacle,
            Obstacle::NotAFile(two.path().join("tool"))
        );

        file(&one.path().join("tool"), 0o644);
        assert_eq!(
            find().unwrap_err().obstacle,
            Obstacle::NotExecutable(one.path().join("tool"))
        );

        fs::remove_dir(two.path().join("tool")).unwrap();
        file(&two.path().join("tool"), 0o755);
        assert_eq!(find().unwrap().path(), two.path().join("tool"));

        file(&one.path().join("tool"), 0o755);
        assert_eq!(find().unwrap().path(), one.path().join("tool"));
    }
}
