use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use crate::Passphrase;
use crate::tmpfs::{self, Rejected};

/// Why a passphrase could not be put where a child process can read it. Nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandoverError {
    /// The kernel has memfds, and this one could not be made.
    #[error("cannot make an anonymous file for a passphrase")]
    Memfd(#[source] io::Error),
    /// There is no tmpfs for the passphrase.
    #[error("no tmpfs to put a passphrase in; looked at {}", list(.looked_at))]
    NoTmpfs {
        /// Each directory that was tried, with the reason against it.
        looked_at: Vec<Rejected>,
        /// Why it was no memfd, where one was tried first.
        #[source]
        memfd: Option<io::Error>,
    },
}

fn list(rejected: &[Rejected]) -> String {
    rejected
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// A passphrase as an open file in memory that no directory has: gone when this is dropped and the children that inherited it
/// have ended, however they end.
pub struct SecretFile {
    file: File,
}

impl SecretFile {
    /// Puts the passphrase into a sealed memfd: its content cannot be changed by anybody, and where the kernel knows that
    /// (Linux 6.3), it cannot be made executable. Where memfds are unknown or forbidden, as [`SecretFile::on_tmpfs`].
    ///
    /// # Errors
    /// [`HandoverError`].
    pub fn new(passphrase: &Passphrase) -> Result<Self, HandoverError> {
        Self::with_memfd(passphrase, |flags| memfd_create("passphrase", flags))
    }

    fn with_memfd(
        passphrase: &Passphrase,
        create: impl Fn(MemfdFlags) -> Result<OwnedFd, Errno>,
    ) -> Result<Self, HandoverError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let made = match create(flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => create(flags),
            made => made,
        };
        match made {
            Ok(memfd) => sealed(memfd, passphrase).map_err(HandoverError::Memfd),
            Err(e @ (Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::INVAL)) => {
                Self::in_one_of(&tmpfs::candidates(), passphrase, Some(e.into()))
            }
            Err(e) => Err(HandoverError::Memfd(e.into())),
        }
    }

    /// Puts the passphrase into a file of mode 0400 without a name, on the first of `$XDG_RUNTIME_DIR`, `/run/user/UID` and
    /// `/dev/shm` that is a tmpfs and has room. Unlike a memfd it is not sealed: other processes of the same user could write to
    /// it while it is there.
    ///
    /// # Errors
    /// [`HandoverError::NoTmpfs`] with each of these and the reason against it.
    pub fn on_tmpfs(passphrase: &Passphrase) -> Result<Self, HandoverError> {
        Self::in_one_of(&tmpfs::candidates(), passphrase, None)
    }

    /// As [`SecretFile::on_tmpfs`], in this directory. It has to be a directory, not a symlink to one, on a tmpfs.
    ///
    /// # Errors
    /// [`HandoverError::NoTmpfs`].
    pub fn in_directory(passphrase: &Passphrase, directory: &Path) -> Result<Self, HandoverError> {
        Self::in_one_of(&[directory.to_owned()], passphrase, None)
    }

    fn in_one_of(
        directories: &[PathBuf],
        passphrase: &Passphrase,
        memfd: Option<io::Error>,
    ) -> Result<Self, HandoverError> {
        let mut looked_at = Vec::new();
        for directory in directories {
            match tmpfs::nameless(directory, passphrase.expose_secret()) {
                Ok(file) => return Ok(Self { file }),
                Err(rejected) => looked_at.push(rejected),
            }
        }
        Err(HandoverError::NoTmpfs { looked_at, memfd })
    }

    /// The path by which a child process reads the passphrase. When a descriptor has to be inherited for that, `pass`
    /// is given it and says the path, as `CommandSpec::pass` of `strongroom-exec` does.
    pub fn path_in_child<'a>(&'a self, pass: impl FnOnce(BorrowedFd<'a>) -> PathBuf) -> PathBuf {
        pass(self.file.as_fd())
    }
}

fn sealed(memfd: OwnedFd, passphrase: &Passphrase) -> io::Result<SecretFile> {
    let mut file = File::from(memfd);
    file.write_all(passphrase.expose_secret())?;
    fcntl_add_seals(
        &file,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(SecretFile { file })
}

impl std::fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretFile(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::error::Error;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use rustix::fs::fcntl_get_seals;

    use super::*;

    /// What is in the file, read at the offset 0 as a child does that opens its path.
    fn content(secret: &SecretFile) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(secret.file.metadata().unwrap().len()).unwrap()];
        secret.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn is_memfd(secret: &SecretFile) -> bool {
        // A tmpfs that is mounted gives its files no seals but the one against sealing.
        fcntl_get_seals(&secret.file).unwrap().contains(SealFlags::WRITE)
    }

    #[test]
    fn a_kernel_that_does_not_know_noexec_seals_gives_a_sealed_memfd() {
        let asked = RefCell::new(Vec::new());
        let passphrase = Passphrase::generate().unwrap();
        let secret = SecretFile::with_memfd(&passphrase, |flags| {
            asked.borrow_mut().push(flags);
            if flags.contains(MemfdFlags::NOEXEC_SEAL) {
                return Err(Errno::INVAL);
            }
            memfd_create("old", flags)
        })
        .unwrap();
        let plain = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        assert_eq!(*asked.borrow(), [plain | MemfdFlags::NOEXEC_SEAL, plain]);
        assert!(is_memfd(&secret));
        assert_eq!(content(&secret), passphrase.expose_secret());
    }

    #[test]
    fn without_memfds_the_passphrase_goes_to_a_nameless_file_on_tmpfs() {
        for refusal in [Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::INVAL] {
            let passphrase = Passphrase::generate().unwrap();
            let secret = SecretFile::with_memfd(&passphrase, |_| Err(refusal)).unwrap();
            assert!(!is_memfd(&secret));
            assert_eq!(content(&secret), passphrase.expose_secret());
            let metadata = secret.file.metadata().unwrap();
            assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (0, 0o400));
        }
    }

    #[test]
    fn a_shortage_is_an_error_and_no_reason_for_another_place() {
        let passphrase = Passphrase::generate().unwrap();
        let refused = SecretFile::with_memfd(&passphrase, |_| Err(Errno::MFILE)).unwrap_err();
        assert!(matches!(refused, HandoverError::Memfd(_)), "{refused}");
        let reason = refused.source().unwrap().to_string();
        assert!(reason.contains("Too many open files"), "{reason}");
    }

    #[test]
    fn a_place_that_will_not_do_is_passed_over() {
        let passphrase = Passphrase::generate().unwrap();
        let places = ["/proc".into(), "/dev/shm".into()];
        let secret = SecretFile::in_one_of(&places, &passphrase, None).unwrap();
        assert_eq!(content(&secret), passphrase.expose_secret());
    }

    #[test]
    fn when_nothing_will_do_the_error_says_what_was_looked_at_and_why_it_was_no_memfd() {
        let passphrase = Passphrase::generate().unwrap();
        let places = ["/proc".into(), "/nowhere".into()];
        let refused = SecretFile::in_one_of(&places, &passphrase, Some(Errno::NOSYS.into())).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "no tmpfs to put a passphrase in; looked at \"/proc\": is no tmpfs (its file system is 0x9fa0); \
             \"/nowhere\": cannot be opened as a directory: No such file or directory (os error 2)"
        );
        assert_eq!(
            refused.source().unwrap().to_string(),
            "Function not implemented (os error 38)"
        );
    }
}
