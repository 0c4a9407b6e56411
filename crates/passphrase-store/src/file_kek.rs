use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use hkdf::Hkdf;
use rand::TryRng;
use rand::rngs::SysRng;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{KekError, KekId, KeyEncryptionKey};

/// A key-encryption key of 256 bits in a file that only its owner may use.
///
/// Format of the file: the line `strongroom-kek 1`, then a line each of `id`, `key` and `check`, with 16 bytes of random id,
/// 32 bytes of key, and the first 8 bytes of SHA-256 over the lines before it, in hexadecimal.
pub struct FileKek {
    id: KekId,
    key: Zeroizing<[u8; KEY]>,
}

const KEY: usize = 32;
const SALT: usize = 32;
const COMMITMENT: usize = 32;
const NONCE: usize = 12;
const FIRST_LINE: &str = "strongroom-kek 1";
/// The only version that a key file has: another key is another file.
const VERSION: u32 = 1;
/// No key file is longer, in bytes.
const LONGEST: u64 = 1024;

impl FileKek {
    /// Makes a new key in a new file of mode 0600. The file is there in full or not at all, and on disk when this returns.
    ///
    /// # Errors
    /// [`KekError::Exists`] when anything has that name; [`KekError::File`], [`KekError::Random`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self, KekError> {
        let path = path.as_ref();
        let io = |source| KekError::File {
            path: path.to_owned(),
            source,
        };
        if path.symlink_metadata().is_ok() {
            return Err(KekError::Exists {
                path: path.to_owned(),
            });
        }
        let mut id = [0; 16];
        let mut key = Zeroizing::new([0; KEY]);
        SysRng.try_fill_bytes(&mut id).map_err(|_| KekError::Random)?;
        SysRng
            .try_fill_bytes(key.as_mut())
            .map_err(|_| KekError::Random)?;
        let text = text(&id, &key);
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        let written = write_new(&draft, &text).and_then(|()| {
            renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE).map_err(io::Error::from)
        });
        if let Err(e) = written {
            drop(fs::remove_file(&draft));
            return Err(match e.kind() {
                io::ErrorKind::AlreadyExists => KekError::Exists {
                    path: path.to_owned(),
                },
                _ => io(e),
            });
        }
        let parent = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(parent).and_then(|d| d.sync_all()).map_err(io)?;
        Self::open(path)
    }

    /// Opens a key file. Refuses a symlink, a file with a second name, one that others may use, and one of another owner.
    ///
    /// # Errors
    /// [`KekError`], which says what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KekError> {
        let path = path.as_ref();
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
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .map_err(io)?;
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
        if metadata.len() > LONGEST {
            return Err(damaged("it is too long"));
        }
        let mut text = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
        Read::by_ref(&mut file)
            .take(LONGEST)
            .read_to_end(&mut text)
            .map_err(io)?;
        parse(&text).map_err(damaged)
    }
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
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

fn check(lines: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&Sha256::digest(lines)[..8]);
    first
}

fn text(id: &[u8; 16], key: &[u8; KEY]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST as usize));
    text.extend_from_slice(FIRST_LINE.as_bytes());
    text.extend_from_slice(b"\nid ");
    hex(id, &mut text);
    text.extend_from_slice(b"\nkey ");
    hex(key, &mut text);
    text.extend_from_slice(b"\n");
    let check = check(&text);
    text.extend_from_slice(b"check ");
    hex(&check, &mut text);
    text.extend_from_slice(b"\n");
    text
}

fn parse(text: &[u8]) -> Result<FileKek, &'static str> {
    let mut lines = text.split(|b| *b == b'\n');
    if lines.next() != Some(FIRST_LINE.as_bytes()) {
        return Err("its first line is another");
    }
    let mut field = |name: &str| {
        lines
            .next()
            .and_then(|l| l.strip_prefix(name.as_bytes())?.strip_prefix(b" "))
    };
    let (id, key, said) = (field("id"), field("key"), field("check"));
    let mut raw_key = Zeroizing::new([0; KEY]);
    key.and_then(|k| unhex(k, raw_key.as_mut()))
        .ok_or("it has no key of 32 bytes")?;
    let mut raw_id = [0; 16];
    let id = id
        .filter(|i| unhex(i, &mut raw_id).is_some())
        .ok_or("it has no id of 16 bytes")?;
    let mut raw_check = [0; 8];
    said.and_then(|c| unhex(c, &mut raw_check))
        .ok_or("it has no check line")?;
    let summed = text
        .windows(7)
        .position(|w| w == b"\ncheck ")
        .map_or(0, |p| p + 1);
    if text.get(..summed).map(check) != Some(raw_check) {
        return Err("its check does not match");
    }
    let id = std::str::from_utf8(id)
        .ok()
        .and_then(|t| t.parse().ok())
        .ok_or("its id is no name")?;
    Ok(FileKek { id, key: raw_key })
}

impl FileKek {
    /// The key and the commitment for one record: HKDF-SHA256 (RFC 5869) over the key with the record's own salt.
    fn derive(&self, salt: &[u8]) -> Result<Zeroizing<[u8; KEY + COMMITMENT]>, KekError> {
        let mut both = Zeroizing::new([0; KEY + COMMITMENT]);
        Hkdf::<Sha256>::new(Some(salt), self.key.as_ref())
            .expand(
                b"strongroom sealed passphrase 1: key and commitment",
                both.as_mut(),
            )
            .map_err(|_| KekError::Unseal)?;
        Ok(both)
    }

    fn cipher(derived: &[u8; KEY + COMMITMENT]) -> Result<Aes256Gcm, KekError> {
        let key = derived
            .get(..KEY)
            .and_then(|k| <&Key<Aes256Gcm>>::try_from(k).ok())
            .ok_or(KekError::Unseal)?;
        Ok(Aes256Gcm::new(key))
    }
}

impl KeyEncryptionKey for FileKek {
    fn id(&self) -> &KekId {
        &self.id
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn seal(&self, plaintext: &[u8], additional: &[u8]) -> Result<Vec<u8>, KekError> {
        let mut fresh = [0; SALT + NONCE];
        SysRng.try_fill_bytes(&mut fresh).map_err(|_| KekError::Random)?;
        let (salt, nonce) = fresh.split_at(SALT);
        let derived = self.derive(salt)?;
        let nonce = Nonce::try_from(nonce).map_err(|_| KekError::Unseal)?;
        let sealed = Self::cipher(&derived)?
            .encrypt(
                &nonce,
                Payload {
                    msg: plaintext,
                    aad: additional,
                },
            )
            .map_err(|_| KekError::Unseal)?;
        Ok([
            salt,
            derived.get(KEY..).unwrap_or_default(),
            nonce.as_slice(),
            &sealed,
        ]
        .concat())
    }

    fn unseal(&self, version: u32, sealed: &[u8], additional: &[u8]) -> Result<Zeroizing<Vec<u8>>, KekError> {
        if version != VERSION {
            return Err(KekError::Version {
                sealed_by: version,
                have: VERSION,
            });
        }
        let (salt, rest) = sealed.split_at_checked(SALT).ok_or(KekError::Unseal)?;
        let (commitment, rest) = rest.split_at_checked(COMMITMENT).ok_or(KekError::Unseal)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE).ok_or(KekError::Unseal)?;
        let derived = self.derive(salt)?;
        let expected = derived.get(KEY..).unwrap_or_default();
        // The commitment is no secret: comparing it early only says which key it was, which the record says as well.
        if expected != commitment {
            return Err(KekError::Unseal);
        }
        let nonce = Nonce::try_from(nonce).map_err(|_| KekError::Unseal)?;
        Self::cipher(&derived)?
            .decrypt(
                &nonce,
                Payload {
                    msg: ciphertext,
                    aad: additional,
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| KekError::Unseal)
    }
}

impl std::fmt::Debug for FileKek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileKek")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
