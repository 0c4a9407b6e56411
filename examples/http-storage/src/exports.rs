use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::StorageError;
use crate::storage::Storage;
use crate::volume::Volume;

/// Nothing is remembered by the kernel: volumes come, grow and go by what clients ask of the service.
const AT_ONCE: Duration = Duration::ZERO;

/// The unit in which a host reads and writes what it opened with `O_DIRECT`, as it would of a disk, in bytes.
const SECTOR: u64 = 512;

/// What hosts see: a file system with a file for each volume that is exported, whose content goes through the volume's cipher.
pub(crate) struct Exports {
    storage: Arc<Storage>,
    owner: (u32, u32),
    numbers: Mutex<Numbers>,
}

/// The kernel's numbers for volumes that it has looked up. A number stays with its volume for good.
#[derive(Default)]
struct Numbers {
    by_number: BTreeMap<u64, Arc<Volume>>,
}

/// Shows the exported volumes at this directory until the session is dropped.
pub(crate) fn mount(storage: Arc<Storage>, at: &Path) -> Result<BackgroundSession, StorageError> {
    let failed = || StorageError::io(format!("mount the exports at {}", at.display()));
    // A service that was killed leaves a mount that nobody serves.
    if std::fs::metadata(at)
        .is_err_and(|e| e.raw_os_error() == Some(rustix::io::Errno::NOTCONN.raw_os_error()))
    {
        rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH).map_err(|e| failed()(e.into()))?;
    }
    std::fs::create_dir_all(at).map_err(failed())?;
    let exports = Exports {
        storage,
        owner: (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        ),
        numbers: Mutex::default(),
    };
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("strongroom-http-storage".to_owned()),
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoExec,
    ];
    fuser::spawn_mount(exports, at, &config).map_err(failed())
}

impl Exports {
    fn attributes(&self, ino: INodeNo, kind: FileType, size: u64) -> FileAttr {
        let (uid, gid) = self.owner;
        FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: if kind == FileType::Directory { 0o700 } else { 0o600 },
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn known(&self, ino: INodeNo) -> Option<Arc<Volume>> {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.by_number.get(&u64::from(ino)).cloned()
    }

    fn number(&self, volume: &Arc<Volume>) -> INodeNo {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = numbers.by_number.iter().find(|(_, v)| Arc::ptr_eq(v, volume));
        if let Some((number, _)) = known {
            return INodeNo(*number);
        }
        let next = numbers
            .by_number
            .keys()
            .next_back()
            .map_or(INodeNo::ROOT.0 + 1, |last| last + 1);
        numbers.by_number.insert(next, Arc::clone(volume));
        INodeNo(next)
    }

    fn look(&self, ino: INodeNo) -> Result<FileAttr, Errno> {
        if ino == INodeNo::ROOT {
            return Ok(self.attributes(ino, FileType::Directory, 0));
        }
        let size = self
            .known(ino)
            .and_then(|v| v.exported_size())
            .ok_or(Errno::ENOENT)?;
        Ok(self.attributes(ino, FileType::RegularFile, size))
    }
}

impl Filesystem for Exports {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let exported = name
            .to_str()
            .and_then(|name| self.storage.find(name))
            .filter(|volume| volume.exported_size().is_some());
        match exported.map(|volume| self.look(self.number(&volume))) {
            Some(Ok(attributes)) => reply.entry(&AT_ONCE, &attributes, Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.look(ino) {
            Ok(attributes) => reply.attr(&AT_ONCE, &attributes),
            Err(e) => reply.error(e),
        }
    }

    /// Sizes are the service's matter; all else that a host may want to set is ignored.
    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.look(ino) {
            Ok(attributes) if size.is_none_or(|size| size == attributes.size) => {
                reply.attr(&AT_ONCE, &attributes)
            }
            Ok(_) => reply.error(Errno::EPERM),
            Err(e) => reply.error(e),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.known(ino).map(|volume| volume.open()) {
            // What the kernel kept of a volume would be wrong after a restore.
            Some(Ok(())) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Some(Err(e)) => reply.error(e.into()),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        if let Some(volume) = self.known(ino) {
            volume.close();
        }
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if !in_sectors(flags, offset, u64::from(size)) {
            return reply.error(Errno::EINVAL);
        }
        let Some(volume) = self.known(ino) else {
            return reply.error(Errno::EIO);
        };
        let wait = volume.turn(size as usize);
        after(wait, move || match volume.read(offset, size as usize) {
            Ok(data) => reply.data(&data),
            Err(_) => reply.error(Errno::EIO),
        });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if !in_sectors(flags, offset, data.len() as u64) {
            return reply.error(Errno::EINVAL);
        }
        let Some(volume) = self.known(ino) else {
            return reply.error(Errno::EIO);
        };
        let (wait, data) = (volume.turn(data.len()), data.to_vec());
        after(wait, move || match volume.write(offset, &data) {
            Ok(written) => reply.written(u32::try_from(written).unwrap_or(u32::MAX)),
            Err(e) if e.kind() == std::io::ErrorKind::StorageFull => reply.error(Errno::ENOSPC),
            Err(_) => reply.error(Errno::EIO),
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        match self.known(ino).map(|volume| volume.sync()) {
            Some(Ok(())) => reply.ok(),
            _ => reply.error(Errno::EIO),
        }
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let exported = self
            .storage
            .names()
            .into_iter()
            .filter_map(|name| self.storage.find(&name).filter(|v| v.exported_size().is_some()));
        let entries = exported.map(|v| (self.number(&v), FileType::RegularFile, v.name.clone()));
        let dots = [".", ".."].map(|name| (ino, FileType::Directory, name.to_owned()));
        for (at, (ino, kind, name)) in (1..)
            .zip(dots.into_iter().chain(entries))
            .skip(usize::try_from(offset).unwrap_or(usize::MAX))
        {
            if reply.add(ino, at, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

/// Does the work when it has its turn. Nobody else waits for it.
fn after(wait: Duration, work: impl FnOnce() + Send + 'static) {
    if wait.is_zero() {
        return work();
    }
    // A limit is kept by taking time, so this sleeps.
    std::thread::spawn(move || {
        std::thread::sleep(wait);
        work();
    });
}

/// Whether this is what a disk would take. QEMU takes a file on which `O_DIRECT` is not bound to sectors for one of larger units, and
/// writes beyond the end of a volume that is no multiple of them.
fn in_sectors(flags: OpenFlags, offset: u64, length: u64) -> bool {
    let direct = flags.0 & i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0) != 0;
    !direct || (offset.is_multiple_of(SECTOR) && length.is_multiple_of(SECTOR))
}
