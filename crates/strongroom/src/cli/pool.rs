use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{ArgGroup, Args, Subcommand};
use strongroom_pool_conformance::checks;
use strongroom_types::{HostId, PoolId};

#[derive(Debug, Subcommand)]
pub(crate) enum Pool {
    /// Adds a directory as a pool of volume files, or block devices as a pool of volumes that have a device each.
    Add(PoolAdd),
    /// Removes a pool that has no volumes. Its storage stays as it is, but for the copies of templates, and can be added again.
    Remove {
        /// Which pool.
        name: PoolId,
        /// Asks nothing of the storage, which is gone for good: copies of templates stay where they are.
        #[arg(long)]
        keep_copies: bool,
    },
    /// Marks a pool's directory as this installation's, although it is another one's. That one then refuses it. Both would delete each
    /// other's volumes, so this is for when the other is gone, or when it took the directory from this one.
    TakeOver {
        /// Which pool.
        name: PoolId,
    },
    /// Lists the pools with what they can do and how full they are.
    List,
    /// Checks that the pool keeps every promise of a storage driver, on its real storage with this machine's tools.
    ///
    /// The checks make small volumes and templates whose names begin with `check-`, spoil work on them on purpose, and delete them. They
    /// touch no other volume and record nothing in the state directory; no other command works on that meanwhile. But they call the
    /// driver's recovery, which removes unfinished work of anybody: no other program and no other host may use the pool while it is
    /// checked. A driver with a fault may harm what else is in the pool, so one that has volumes is refused unless --with-volumes is
    /// said.
    ///
    /// A pool of devices needs ten free ones, all zeros. Where this command is killed, volumes that begin with `check-` may stay in the
    /// storage; they are nobody's. A signal or --timeout ends it after the check that runs.
    Check(PoolCheck),
}

#[derive(Debug, Args)]
pub(crate) struct PoolCheck {
    /// Which pool.
    pub(crate) name: PoolId,
    /// Runs these checks only.
    #[arg(long, value_name = "CHECK", num_args = 1.., value_parser = check_names())]
    pub(crate) only: Vec<String>,
    /// Also writes what was found as JUnit XML, for a CI.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Checks a pool although it has volumes.
    #[arg(long)]
    pub(crate) with_volumes: bool,
}

fn check_names() -> PossibleValuesParser {
    let named =
        |check: &strongroom_pool_conformance::Check| PossibleValue::new(check.name).help(check.sentence);
    PossibleValuesParser::new(checks().iter().map(named))
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(group(ArgGroup::new("place").required(true).args(["directory", "device"])))]
pub(crate) struct PoolAdd {
    /// Its name.
    pub(crate) name: PoolId,
    /// The directory. It exists, is no symlink, and is marked as this pool's of this installation for good. It lies in no other pool and
    /// not in the state directory, and neither lies in it.
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// A host that reaches the directory, added with `host add`, and this machine does not; said once for each. All of them have to
    /// reach the same storage by the same path: say --nfs or --shared. Without this option, this machine reaches it.
    #[arg(long, value_name = "NAME", requires = "directory")]
    pub(crate) host: Vec<HostId>,
    /// A block device that volumes may have, such as /dev/disk/by-id/...; say it once for each. Whatever is on it when a volume
    /// gets it has to be zeros.
    #[arg(long, value_name = "PATH")]
    pub(crate) device: Vec<PathBuf>,
    /// The directory is on this NFS export, as server:/path, and on no other.
    #[arg(
        long,
        value_name = "EXPORT",
        requires = "directory",
        conflicts_with = "shared"
    )]
    pub(crate) nfs: Option<String>,
    /// The directory is where a file system is mounted that several hosts write to, such as gfs2 or ocfs2.
    #[arg(long, requires = "directory")]
    pub(crate) shared: bool,
    /// What guests discard is given back to the storage. Whoever sees the storage then sees where an encrypted volume has nothing.
    #[arg(long, requires = "directory")]
    pub(crate) discard: bool,
    /// The volumes may promise their guests so many percent of the file system's size together, such as 300.
    #[arg(long, value_name = "PERCENT", requires = "directory")]
    pub(crate) promise: Option<u32>,
    /// The directory may be marked as a pool of this name of another installation, and becomes this one's: see `pool take-over`.
    #[arg(long, requires = "directory")]
    pub(crate) take_over: bool,
    /// The pool refuses encrypted volumes.
    #[arg(long)]
    pub(crate) no_encryption: bool,
}
