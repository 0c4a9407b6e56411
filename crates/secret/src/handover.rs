use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::Passphrase;

/// Why a passphrase could not be put where a child process can read it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The anonymous file could not be made.
    #[error("cannot make an anonymous file for a passphrase")]
    Memfd(#[source] std::io::Error),
}

/// A passphrase in a file that no file system has: sealed, anonymous, gone when dropped.
pub struct SecretFile {
    memfd: File,
}

impl SecretFile {
    /// Puts the passphrase into a sealed memfd.
    ///
    /// # Errors
    /// [`HandoverError`].
    pub fn new(passphrase: &Passphrase) -> Result<Self, HandoverError> {
        let io = |e: rustix::io::Errno| HandoverError::Memfd(e.into());
        let fd = memfd_create("passphrase", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(io)?;
        let mut memfd = File::from(fd);
        memfd
            .write_all(passphrase.expose_secret())
            .map_err(HandoverError::Memfd)?;
        fcntl_add_seals(
            &memfd,
            SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
        )
        .map_err(io)?;
        Ok(Self { memfd })
    }

    /// The path by which a child process reads the passphrase. When a descriptor has to be inherited for that, `pass`
    /// is given it and says the path, as `CommandSpec::pass` of `strongroom-exec` does.
    pub fn path_in_child<'a>(&'a self, pass: impl FnOnce(BorrowedFd<'a>) -> PathBuf) -> PathBuf {
        pass(self.memfd.as_fd())
    }
}

impl std::fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretFile(..)")
    }
}
