use std::path::{Path, PathBuf};

/// Where programs are looked for, in this order. `PATH` is not consulted.
pub const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// A program by its absolute path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Program(PathBuf);

/// No such program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is not installed: looked in {}", DIRECTORIES.join(", "))]
#[non_exhaustive]
pub struct ProgramNotFound {
    /// What was looked for.
    pub name: String,
}

impl Program {
    /// Looks in the fixed directories.
    ///
    /// # Errors
    /// [`ProgramNotFound`] when none has an executable file of that name.
    pub fn find(name: &str) -> Result<Self, ProgramNotFound> {
        DIRECTORIES
            .iter()
            .map(|d| Path::new(d).join(name))
            .find(|p| p.is_file())
            .map(Self)
            .ok_or_else(|| ProgramNotFound {
                name: name.to_owned(),
            })
    }

    /// The program at this absolute path.
    ///
    /// # Errors
    /// [`ProgramNotFound`] when the path is relative or no executable file is there.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, ProgramNotFound> {
        let path = path.into();
        if path.is_absolute() && path.is_file() {
            Ok(Self(path))
        } else {
            Err(ProgramNotFound {
                name: path.to_string_lossy().into_owned(),
            })
        }
    }

    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}
