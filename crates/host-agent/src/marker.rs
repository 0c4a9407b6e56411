//! The mark by which a directory is known as that of a pool.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostAnswer, MarkDirectory};
use strongroom_types::PoolId;

use crate::staging::Staging;
use crate::{directory, failure};

/// The name of the file in the directory.
const NAME: &str = ".strongroom-pool";

/// Its first line; the second is the pool's id.
const TITLE: &str = "strongroom pool";

/// A mark is far shorter than this, in bytes.
const LONGEST: u64 = 4096;

const MARK: &str = "MarkDirectory";

/// Marks a directory, if it is not marked.
pub(crate) fn mark(c: &MarkDirectory<'_>) -> Result<HostAnswer, EndpointError> {
    directory::look(MARK, c.path)?;
    let file = c.path.join(NAME);
    let text = format!("{TITLE}\n{}\n", c.pool);
    if read(MARK, c.path)?.is_none() {
        match write(&file, &text) {
            // Somebody was faster; for which pool is seen below.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            written => written.map_err(|e| failure::io(MARK, &file, e))?,
        }
    }
    match read(MARK, c.path)? {
        Some(pool) if pool == *c.pool => directory::facts(MARK, c.path).map(HostAnswer::Directory),
        Some(other) => {
            let message = format!(
                "{} is the directory of pool {other} and not of {}; give each pool a directory of its own",
                c.path.display(),
                c.pool
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
    let staging = Staging::beside(file)?;
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(staging.path())?;
    made.write_all(text.as_bytes())?;
    staging.publish()
}

/// The pool that a directory was marked for. What has the name of the mark and is none is an error: nobody may take the directory
/// for one that belongs to no pool.
pub(crate) fn read(operation: &'static str, directory: &Path) -> Result<Option<PoolId>, EndpointError> {
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
    let pool = std::str::from_utf8(&bytes).ok().and_then(|text| {
        text.strip_prefix(TITLE)?
            .strip_prefix('\n')?
            .strip_suffix('\n')?
            .parse()
            .ok()
    });
    match pool {
        Some(pool) => Ok(Some(pool)),
        None => damaged("is not the mark of a pool"),
    }
}
