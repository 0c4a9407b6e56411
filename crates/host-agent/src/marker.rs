//! The mark by which a directory is known as that of a pool.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostAnswer, MarkDirectory};
use strongroom_types::{InstallationId, PoolId};

use crate::staging::Staging;
use crate::{directory, failure};

/// The name of the file in the directory.
const NAME: &str = ".strongroom-pool";

/// Its first line; the second is the pool's id, the third, if there is one, the id of the installation whose pool it is.
const TITLE: &str = "strongroom pool";

/// A mark is far shorter than this, in bytes.
const LONGEST: u64 = 4096;

const MARK: &str = "MarkDirectory";

/// Marks a directory, if it is not marked.
pub(crate) fn mark(c: &MarkDirectory<'_>) -> Result<HostAnswer, EndpointError> {
    directory::look(MARK, c.path)?;
    let file = c.path.join(NAME);
    let mut text = format!("{TITLE}\n{}\n", c.pool);
    if let Some(owner) = c.owner {
        text = format!("{text}{owner}\n");
    }
    match read(MARK, c.path)? {
        None => match write(&file, &text) {
            // Somebody was faster; for which pool is seen below.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            written => written.map_err(|e| failure::io(MARK, &file, e))?,
        },
        // The mark is nobody's, or somebody gives the directory to another installation.
        Some(mark) if mark.pool == *c.pool && c.owner.is_some() && mark.owner.as_ref() != c.owner => {
            if mark.owner.is_none() || c.take_over {
                replace(&file, &text).map_err(|e| failure::io(MARK, &file, e))?;
            }
        }
        Some(_) => {}
    }
    let directory = c.path.display();
    match read(MARK, c.path)? {
        Some(mark) if mark.pool == *c.pool && (c.owner.is_none() || mark.owner.as_ref() == c.owner) => {
            directory::facts(MARK, c.path).map(HostAnswer::Directory)
        }
        Some(Mark {
            pool,
            owner: Some(owner),
        }) if pool == *c.pool => {
            let message = format!(
                "{directory} is the directory of pool {pool} of another installation, {owner}, whose volumes lie there; give \
                 each a directory of its own, or take it over when that installation is gone"
            );
            Err(EndpointError::new(ErrorKind::AlreadyExists, MARK, message))
        }
        Some(other) => {
            let message = format!(
                "{directory} is the directory of pool {} and not of {}; give each pool a directory of its own",
                other.pool, c.pool
            );
            Err(EndpointError::new(ErrorKind::AlreadyExists, MARK, message))
        }
        None => {
            let message = format!("{} vanished while the directory was marked", file.display());
            Err(EndpointError::new(ErrorKind::NotFound, MARK, message))
        }
    }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    staged(file, text)?.publish()
}

/// There is a mark at any instant: the old one or the new one.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let staging = staged(file, text)?;
    File::open(staging.path())?.sync_all()?;
    fs::rename(staging.path(), file)?;
    File::open(file.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn staged(file: &Path, text: &str) -> io::Result<Staging> {
    let staging = Staging::beside(file)?;
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(staging.path())?;
    made.write_all(text.as_bytes())?;
    Ok(staging)
}

/// What a mark says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The pool whose directory it is.
    pub(crate) pool: PoolId,
    /// The installation whose pool that is. Marks of earlier versions do not say it.
    pub(crate) owner: Option<InstallationId>,
}

impl Mark {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let lines = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let mut lines = lines.split('\n');
        if lines.next() != Some(TITLE) {
            return None;
        }
        let mark = Self {
            pool: lines.next()?.parse().ok()?,
            owner: lines.next().map(str::parse).transpose().ok()?,
        };
        lines.next().is_none().then_some(mark)
    }
}

/// What the mark of a directory says. What has the name of the mark and is none is an error: nobody may take the directory
/// for one that belongs to no pool.
pub(crate) fn read(operation: &'static str, directory: &Path) -> Result<Option<Mark>, EndpointError> {
    let path = directory.join(NAME);
    let damaged = |found: &str| {
        let message = format!(
            "{} {found}, so nobody knows whose pool this is; when you know, remove it and mark the directory again",
            path.display()
        );
        Err(EndpointError::new(ErrorKind::WrongDisk, operation, message))
    };
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    let opened = match fs::symlink_metadata(&path) {
        Ok(found) if found.is_symlink() => return damaged("is a symlink"),
        Ok(found) if !found.is_file() => return damaged("is not a regular file"),
        Ok(_) => options
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&path),
        Err(e) => Err(e),
    };
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return damaged("is a symlink"),
        Err(e) => return Err(failure::io(operation, &path, e)),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(|e| failure::io(operation, &path, e))?;
    match Mark::parse(&bytes) {
        Some(mark) => Ok(Some(mark)),
        None => damaged("is not the mark of a pool"),
    }
}
