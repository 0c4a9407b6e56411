//! The file that a key-encryption key lies in. Its format is written down in `docs/sealed-records.md`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, open as open_at, renameat_with};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{KekError, KekId};

/// Bytes of a key.
pub(crate) const KEY: usize = 32;
const ID: usize = 16;
const FIRST_LINE: &str = "strongroom-kek 1";
/// The length of a key file in bytes: there is only one.
const LENGTH: usize = 17 + 36 + 69 + 23;

type Named = (KekId, Box<Zeroizing<[u8; KEY]>>);

pub(crate) fn create(path: &Path) -> Result<Named, KekError> {
    let io = |source| KekError::File {
        path: path.to_owned(),
        source,
    };
    let mut id = [0; ID];
    let mut key = Box::new(Zeroizing::new([0; KEY]));
    SysRng.try_fill_bytes(&mut id).map_err(|_| KekError::Random)?;
    SysRng
        .try_fill_bytes(key.as_mut_slice())
        .map_err(|_| KekError::Random)?;
    let text = text(&id, &key);
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    publish(path, directory, &text).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => KekError::Exists {
            path: path.to_owned(),
        },
        _ => io(e),
    })?;
    File::open(directory).and_then(|d| d.sync_all()).map_err(io)?;
    open(path)
}

/// Writes a file without a name and gives it the name when it is on disk: a crash leaves nothing behind.
fn publish(path: &Path, directory: &Path, text: &[u8]) -> io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file: File = match open_at(directory, flags, Mode::RUSR | Mode::WUSR) {
        Ok(descriptor) => descriptor.into(),
        // The file system has no files without a name.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return publish_draft(path, directory, text),
        Err(e) => return Err(e.into()),
    };
    file.write_all(text)?;
    file.sync_all()?;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// The same by way of a name that nobody else has. A crash may leave that file behind.
fn publish_draft(path: &Path, directory: &Path, text: &[u8]) -> io::Result<()> {
    let mut random = [0; 8];
    SysRng.try_fill_bytes(&mut random).map_err(io::Error::other)?;
    let draft = directory.join(format!(".kek-draft-{:016x}", u64::from_be_bytes(random)));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let published = file
        .write_all(text)
        .and_then(|()| file.sync_all())
        .and_then(|()| Ok(renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE)?));
    if published.is_err() {
        drop(fs::remove_file(&draft));
    }
    published
}

pub(crate) fn open(path: &Path) -> Result<Named, KekError> {
    let io = |source| KekError::File {
        path: path.to_owned(),
        source,
    };
    let odd = |found| KekError::NotAPlainFile {
        path: path.to_owned(),
        found,
    };
    if path.symlink_metadata().map_err(io)?.is_symlink() {
        return Err(odd("a symlink"));
    }
    // NONBLOCK, because opening a FIFO would wait for a writer.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::RDONLY;
    let mut file: File = open_at(path, flags, Mode::empty())
        .map_err(|e| io(e.into()))?
        .into();
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(odd("no regular file"));
    }
    if metadata.nlink() != 1 {
        return Err(odd("a file with several names"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(KekError::Mode {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us && metadata.uid() != 0 {
        return Err(KekError::WrongOwner {
            path: path.to_owned(),
            owner: metadata.uid(),
        });
    }
    let damaged = |problem| KekError::Damaged {
        path: path.to_owned(),
        problem,
    };
    if metadata.len() != LENGTH as u64 {
        return Err(damaged("it has another length"));
    }
    let mut text = Zeroizing::new([0; LENGTH]);
    file.read_exact(text.as_mut_slice()).map_err(io)?;
    parse(text.as_slice()).map_err(damaged)
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(
        bytes
            .iter()
            .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]),
    );
}

/// Fills `out` from exactly as many hexadecimal digits as it takes.
fn unhex(digits: &[u8], out: &mut [u8]) -> Option<()> {
    if digits.len() != out.len() * 2 {
        return None;
    }
    let value = |d: &u8| char::from(*d).to_digit(16).and_then(|v| u8::try_from(v).ok());
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair.first()?)? << 4 | value(pair.last()?)?;
    }
    Some(())
}

fn text(id: &[u8; ID], key: &[u8; KEY]) -> Zeroizing<Vec<u8>> {
    // With all the room that it needs, so that growing leaves no copy behind.
    let mut text = Zeroizing::new(Vec::with_capacity(LENGTH));
    text.extend_from_slice(FIRST_LINE.as_bytes());
    text.extend_from_slice(b"\nid ");
    hex(id, &mut text);
    text.extend_from_slice(b"\nkey ");
    hex(key, &mut text);
    text.extend_from_slice(b"\n");
    let check = Sha256::digest(text.as_slice());
    text.extend_from_slice(b"check ");
    hex(&check[..8], &mut text);
    text.extend_from_slice(b"\n");
    text
}

fn parse(found: &[u8]) -> Result<Named, &'static str> {
    let mut lines = found.split(|b| *b == b'\n');
    if lines.next() != Some(FIRST_LINE.as_bytes()) {
        return Err("its first line is another");
    }
    let mut field = |name: &str| {
        lines
            .next()
            .and_then(|l| l.strip_prefix(name.as_bytes())?.strip_prefix(b" "))
    };
    let mut id = [0; ID];
    let name = field("id")
        .filter(|digits| unhex(digits, &mut id).is_some())
        .ok_or("it has no id of 16 bytes")?;
    let mut key = Box::new(Zeroizing::new([0; KEY]));
    field("key")
        .and_then(|digits| unhex(digits, key.as_mut_slice()))
        .ok_or("it has no key of 32 bytes")?;
    if text(&id, &key).as_slice() != found {
        return Err("its check does not match");
    }
    let name = std::str::from_utf8(name)
        .ok()
        .and_then(|n| n.parse().ok())
        .ok_or("its id is no name")?;
    Ok((name, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_file_has_the_same_length() {
        assert_eq!(text(&[0; ID], &[255; KEY]).len(), LENGTH);
    }

    #[test]
    fn where_files_need_names_a_key_file_is_published_in_full_and_never_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        let names = || fs::read_dir(directory.path()).unwrap().count();

        publish_draft(&path, directory.path(), b"first").unwrap();
        let metadata = path.metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o600, 1));
        let refused = publish_draft(&path, directory.path(), b"second").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&path).unwrap(), names()), (b"first".to_vec(), 1));
    }
}
