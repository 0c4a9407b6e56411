use std::path::{Path, PathBuf};

use super::NfsError;

/// What clients may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Read and write.
    ReadWrite,
    /// Only read: writing is `EROFS`.
    ReadOnly,
}

/// A directory that the server exports, by the name `/pool`, to this machine's root and everybody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    directory: PathBuf,
    access: Access,
    number: u16,
}

impl Export {
    /// The name that clients mount.
    pub(super) const NAME: &'static str = "/pool";

    /// This directory, to read and write. It has to be on a file system with handles: ext4, xfs, tmpfs.
    ///
    /// # Errors
    /// [`NfsError::Path`] for a relative path and one with unusual characters.
    pub fn of(directory: impl Into<PathBuf>) -> Result<Self, NfsError> {
        let directory = directory.into();
        if is_sound(&directory) {
            Ok(Self {
                directory,
                access: Access::ReadWrite,
                number: 1,
            })
        } else {
            Err(NfsError::Path { path: directory })
        }
    }

    /// The same with another access.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// The same with another number. The number is part of every file handle, so files that are open by the old one are stale
    /// (`ESTALE`) when the server exports the same directory by a new one.
    #[must_use]
    pub fn with_number(mut self, number: u16) -> Self {
        self.number = number;
        self
    }

    /// The server's configuration, ganesha-config(8) and its neighbours: NFS 4.1 and 4.2 by TCP; no other service; no names but
    /// numbers for users; short times for a client to claim its locks again.
    pub(super) fn configuration(&self) -> String {
        let access = match self.access {
            Access::ReadWrite => "RW",
            Access::ReadOnly => "RO",
        };
        format!(
            "NFS_CORE_PARAM {{ Protocols = 4; Enable_NLM = false; Enable_RQUOTA = false; }}\n\
             NFSV4 {{ Minor_Versions = 1, 2; Lease_Lifetime = 5; Grace_Period = 5; UseGetpwnam = true;\n\
             Only_Numeric_Owners = true; DomainName = \"lab\"; }}\n\
             NFS_KRB5 {{ Active_krb5 = false; }}\n\
             LOG {{ Default_Log_Level = EVENT; }}\n\
             EXPORT {{ Export_Id = {}; Path = {}; Pseudo = {}; Access_Type = {access};\n\
             Squash = No_Root_Squash; SecType = sys; FSAL {{ Name = VFS; }} }}\n",
            self.number,
            self.directory.display(),
            Self::NAME,
        )
    }
}

/// Whether a path can stand in the configuration and in the mount table as it is.
pub(super) fn is_sound(path: &Path) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "./_-".contains(c);
    path.is_absolute() && path.to_str().is_some_and(|text| text.chars().all(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_the_configuration_can_hold_are_taken() {
        for bad in ["relative", "/a b", "/a;b", "/a}", "/a\nb", "/a\"", "/ä"] {
            let error = Export::of(bad).unwrap_err();
            assert!(matches!(error, NfsError::Path { path } if path == Path::new(bad)));
        }
        let text = Export::of("/tmp/a-b_c.d").unwrap().with_number(7).configuration();
        assert!(text.contains("Export_Id = 7; Path = /tmp/a-b_c.d;"), "{text}");
    }

    #[test]
    fn access_is_said() {
        let export = Export::of("/tmp/a").unwrap();
        assert!(export.configuration().contains("Access_Type = RW;"));
        let export = export.with_access(Access::ReadOnly);
        assert!(export.configuration().contains("Access_Type = RO;"));
    }
}
