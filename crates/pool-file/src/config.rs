use std::path::{Component, PathBuf};
use std::time::Duration;

use strongroom_storage_pool::{ErrorKind, PoolError, Reach};
use strongroom_types::{InstallationId, PoolId};

/// The clock skew that a pool bears unless it is told otherwise: well above what NTP leaves, well below what a lease of a lock or a
/// comparison of file times bears.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// What a pool's directory lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Storage {
    Local,
    Nfs { export: String },
    SharedMountPoint,
}

/// Where a pool is, what is expected there, and what it is for.
///
/// Everything that is expected is checked by the host at the beginning of every operation, with one look at the directory.
#[derive(Debug, Clone)]
#[must_use]
pub struct FilePoolConfig {
    pub(crate) pool: PoolId,
    pub(crate) directory: PathBuf,
    pub(crate) installation: Option<InstallationId>,
    pub(crate) storage: Storage,
    pub(crate) reach: Reach,
    pub(crate) encryption: bool,
    pub(crate) discard: bool,
    pub(crate) mount_point: bool,
    pub(crate) file_system: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) soft_mount: bool,
    pub(crate) locks: bool,
    pub(crate) clock_skew: Duration,
    pub(crate) provisioning: Option<u32>,
}

impl FilePoolConfig {
    /// A pool in a directory of one host, with encryption. Nothing is expected of its file system.
    pub fn new(pool: PoolId, directory: PathBuf) -> Self {
        Self {
            pool,
            directory,
            installation: None,
            storage: Storage::Local,
            reach: Reach::Host,
            encryption: true,
            discard: false,
            mount_point: false,
            file_system: None,
            source: None,
            soft_mount: false,
            locks: true,
            clock_skew: CLOCK_SKEW,
            provisioning: None,
        }
    }

    /// A pool in a directory on an NFS export, given as `server:/path` just as it is mounted, which every host of a zone reaches by
    /// the same path. The directory is the mount point or lies below it.
    ///
    /// A mount of another export is refused, and a soft mount, which gives up writes when the server is away for long, and one whose
    /// locks do not reach the server (`nolock`, `local_lock`).
    pub fn nfs(pool: PoolId, directory: PathBuf, export: impl Into<String>) -> Self {
        let export = export.into();
        Self {
            storage: Storage::Nfs { export },
            reach: Reach::Zone,
            ..Self::new(pool, directory)
        }
    }

    /// A pool on a cluster file system, such as gfs2 or ocfs2, that somebody mounts at this path on every host of a cluster.
    pub fn shared_mount_point(pool: PoolId, directory: PathBuf) -> Self {
        Self {
            storage: Storage::SharedMountPoint,
            reach: Reach::Cluster,
            mount_point: true,
            ..Self::new(pool, directory)
        }
    }

    /// The same, reached by other hosts than this kind of pool usually is, each by the same path. A pool that several hosts reach
    /// is held to locks that work and to clocks that agree.
    pub fn reached_by(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// The same, as the pool of this installation. The mark of the directory then says so, and a directory that is marked for another
    /// installation's pool of the same name is refused, for nothing else keeps the two from deleting each other's volumes. A mark
    /// without an installation is taken for anybody's until the pool is [prepared](strongroom_storage_pool::PoolDriver::prepare).
    pub fn of_installation(mut self, installation: InstallationId) -> Self {
        self.installation = Some(installation);
        self
    }

    /// The same, but requests for encrypted volumes are refused. Those that are there already stay usable.
    pub fn without_encryption(mut self) -> Self {
        self.encryption = false;
        self
    }

    /// The same, and what a guest discards is given back to the file system. Whoever sees the files then sees where an encrypted
    /// volume has nothing.
    pub fn with_discard(mut self) -> Self {
        self.discard = true;
        self
    }

    /// The same, and a file system must be mounted at the directory itself.
    pub fn on_mount_point(mut self) -> Self {
        self.mount_point = true;
        self
    }

    /// The same, and the directory must be on a file system of this kind, as the kernel names it: `xfs`, `gfs2`, `nfs4`.
    pub fn expecting_file_system(mut self, kind: impl Into<String>) -> Self {
        self.file_system = Some(kind.into());
        self
    }

    /// The same, and this must be what is mounted there, such as `/dev/mapper/pools-gold`.
    pub fn expecting_source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same, and an NFS mount may be soft: while the server is away, guests get errors and lose what they wrote.
    pub fn with_soft_mount(mut self) -> Self {
        self.soft_mount = true;
        self
    }

    /// The same, and several hosts may use a file system without locks. Then nothing keeps two hosts from opening one disk for writing,
    /// [`delete`](strongroom_storage_pool::PoolDriver::delete) from removing a disk that a guest has open on another host, and
    /// [`recover`](strongroom_storage_pool::PoolDriver::recover) from removing what another host is making.
    pub fn without_locks(mut self) -> Self {
        self.locks = false;
        self
    }

    /// The same with another limit for the difference between the clocks of host and storage, which is 5 seconds. Beyond it a pool
    /// that several hosts reach is not written to; of a local pool it is only logged.
    pub fn with_clock_skew_up_to(mut self, limit: Duration) -> Self {
        self.clock_skew = limit;
        self
    }

    /// The same, and its volumes may promise their guests at most so many percent of the file system's size together: 100 for no
    /// more than there is, 300 for three times that. Without it, any size is promised.
    ///
    /// The driver keeps account in memory. It asks a host for the size of every volume once, and after that only for those that
    /// others made; that somebody else's program made a volume larger is not noticed.
    pub fn promising_up_to(mut self, percent: u32) -> Self {
        self.provisioning = Some(percent);
        self
    }

    /// Where the plain copies of templates are.
    pub(crate) fn templates(&self) -> PathBuf {
        self.directory.join("templates")
    }

    /// Whether several hosts work there.
    pub(crate) fn shared(&self) -> bool {
        self.reach != Reach::Host
    }

    /// Whether this can be a pool at all. Nothing is looked at on a disk.
    pub(crate) fn check(&self) -> Result<(), PoolError> {
        let plain = self
            .directory
            .components()
            .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        let directory = self.directory.display();
        let problem = if !self.directory.is_absolute() || !plain {
            format!("{directory:?} is not an absolute path without \"..\"")
        } else if self.directory.parent().is_none() {
            format!("{directory:?} is the root of everything; name a directory for the pool alone")
        } else if let Storage::Nfs { export } = &self.storage
            && export
                .split_once(":/")
                .is_none_or(|(server, _)| server.is_empty())
        {
            format!("{export:?} is not an export; write it as server:/path, just as it is mounted")
        } else {
            return Ok(());
        };
        let message = format!("pool {}: {problem}", self.pool);
        Err(PoolError::new(ErrorKind::InvalidRequest, "open", message))
    }
}
