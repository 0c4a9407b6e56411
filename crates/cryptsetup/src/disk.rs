use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use strongroom_types::DeviceSize;

use crate::CryptsetupError;

/// How long a device that is held may be held: whoever attaches loop devices claims, for an instant, also such as are
/// somebody else's.
pub(crate) const GLANCE: Duration = Duration::from_millis(100);
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// A block device or regular file, open for reading.
#[derive(Debug)]
pub(crate) struct Disk {
    file: File,
    path: PathBuf,
    size: u64,
    block: bool,
    /// The number of the device, or those of the file.
    identity: (u64, u64),
}

/// With whom a block device may be shared while we look. Regular files know no such thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// With anybody.
    Anybody,
    /// With nobody: a device that is mounted, mapped or held exclusively is [`CryptsetupError::Busy`].
    /// cryptsetup 2.6.1 reports such a device with exit code 1, as it does bad parameters.
    Nobody,
}

impl Disk {
    pub(crate) fn open(path: &Path, sharing: Sharing) -> Result<Self, CryptsetupError> {
        let refuse = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => CryptsetupError::DeviceMissing {
                path: path.to_owned(),
            },
            io::ErrorKind::ResourceBusy => CryptsetupError::Busy {
                path: path.to_owned(),
            },
            _ => CryptsetupError::io("open", path, source),
        };
        // Looking before opening: to open some character devices is to act on them.
        let seen = std::fs::metadata(path).map_err(refuse)?;
        let kind = |file_type: std::fs::FileType| match file_type {
            t if t.is_file() || t.is_block_device() => None,
            t if t.is_dir() => Some("directory"),
            t if t.is_fifo() => Some("named pipe"),
            t if t.is_char_device() => Some("character device"),
            t if t.is_socket() => Some("socket"),
            _ => Some("thing of unknown kind"),
        };
        let not_a_disk = |kind| CryptsetupError::NotADisk {
            path: path.to_owned(),
            kind,
        };
        if let Some(kind) = kind(seen.file_type()) {
            return Err(not_a_disk(kind));
        }
        // Without O_NONBLOCK, a pipe put in its place meanwhile would hold us for ever.
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if sharing == Sharing::Nobody && seen.file_type().is_block_device() {
            flags |= OFlags::EXCL;
        }
        let patience = Instant::now() + GLANCE;
        let opened = loop {
            match rustix::fs::open(path, flags, Mode::empty()) {
                Err(Errno::BUSY) if Instant::now() < patience => thread::sleep(PAUSE),
                outcome => break outcome.map_err(|e| refuse(e.into()))?,
            }
        };
        let mut file = File::from(opened);
        let examined = file
            .metadata()
            .map_err(|e| CryptsetupError::io("examine", path, e))?;
        let is = examined.file_type();
        if let Some(kind) = kind(is) {
            return Err(not_a_disk(kind));
        }
        let size = file
            .seek(SeekFrom::End(0))
            .map_err(|e| CryptsetupError::io("measure", path, e))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            size,
            block: is.is_block_device(),
            identity: if is.is_block_device() {
                (examined.rdev(), 0)
            } else {
                (examined.dev(), examined.ino())
            },
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its size in bytes, which may be none of a disk.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn device_size(&self) -> Result<DeviceSize, CryptsetupError> {
        DeviceSize::new(self.size).map_err(|source| CryptsetupError::Size {
            path: self.path.clone(),
            source,
        })
    }

    /// Where the file system has data at or after `offset`: the beginning and the end of it. `None` when only
    /// holes follow. A block device, and a file system that cannot tell, has data everywhere.
    pub(crate) fn data_from(&self, offset: u64) -> Result<Option<(u64, u64)>, CryptsetupError> {
        if offset >= self.size {
            return Ok(None);
        }
        if self.block {
            return Ok(Some((offset, self.size)));
        }
        let begin = match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(begin) => begin,
            Err(rustix::io::Errno::NXIO) => return Ok(None),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => {
                return Ok(Some((offset, self.size)));
            }
            Err(e) => return Err(CryptsetupError::io("find data in", &self.path, e)),
        };
        if begin >= self.size {
            return Ok(None);
        }
        let hole = rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Hole(begin)).unwrap_or(self.size);
        Ok(Some((
            begin,
            if hole > begin {
                hole.min(self.size)
            } else {
                self.size
            },
        )))
    }

    /// Whether holes cost nothing to skip.
    pub(crate) fn is_block(&self) -> bool {
        self.block
    }

    /// Whether both are one file or one device, whatever their paths.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Reads up to the length of `buffer`; fewer bytes only at the end of the disk.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, CryptsetupError> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(CryptsetupError::io("read", &self.path, e)),
            }
        }
        Ok(done)
    }

    /// The first bytes, at most `N`, and how many there are.
    pub(crate) fn beginning<const N: usize>(&self) -> Result<([u8; N], usize), CryptsetupError> {
        let mut bytes = [0; N];
        let n = self.read_at(0, &mut bytes)?;
        Ok((bytes, n))
    }

    /// Has everything written to stable storage that anybody wrote so far.
    pub(crate) fn sync(&self) -> Result<(), CryptsetupError> {
        self.file
            .sync_all()
            .map_err(|e| CryptsetupError::io("sync", &self.path, e))
    }
}

/// Whether the first bytes of one are all that the other is.
pub(crate) fn begins_with(disk: &Disk, mut content: impl Read, path: &Path) -> Result<bool, CryptsetupError> {
    let (mut ours, mut theirs) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut offset = 0u64;
    loop {
        let n = content
            .read(&mut theirs)
            .map_err(|e| CryptsetupError::io("read", path, e))?;
        if n == 0 {
            return Ok(true);
        }
        let (Some(ours), Some(theirs)) = (ours.get_mut(..n), theirs.get(..n)) else {
            return Ok(false);
        };
        if disk.read_at(offset, ours)? != n || ours != theirs {
            return Ok(false);
        }
        offset += n as u64;
    }
}

/// Has the names in a directory written to stable storage.
pub(crate) fn sync_directory_of(path: &Path) -> Result<(), CryptsetupError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(|e| CryptsetupError::io("sync", directory, e))
}
