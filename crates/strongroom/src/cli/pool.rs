use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use strongroom_types::PoolId;

#[derive(Debug, Subcommand)]
pub(crate) enum Pool {
    /// Adds a directory as a pool of volume files, or block devices as a pool of volumes that have a device each.
    Add(PoolAdd),
    /// Lists the pools with what they can do and how full they are.
    List,
}

#[derive(Debug, Args)]
#[group(skip)]
#[command(group(ArgGroup::new("place").required(true).args(["directory", "device"])))]
pub(crate) struct PoolAdd {
    /// Its name.
    pub(crate) name: PoolId,
    /// The directory. It exists, is no symlink, and is marked as this pool's for good.
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
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
    /// The pool refuses encrypted volumes.
    #[arg(long)]
    pub(crate) no_encryption: bool,
}
