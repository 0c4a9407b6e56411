mod error;
mod export;
mod mount;
mod server;

pub use error::NfsError;
pub use export::{Access, Export};
pub use mount::NfsMount;
pub use server::NfsServer;

use crate::Guest;

/// The part of the server that exports a directory, loaded when it starts.
const VFS: &str = "/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so";

/// The list of transports, which the server's RPC library reads.
const TRANSPORTS: &str = "/etc/netconfig";

impl Guest {
    /// The same with an NFS server and the kernel's NFS client: what [`NfsServer`] and [`NfsMount`] need.
    ///
    /// The server is nfs-ganesha, a process. So it can be stopped and killed at any instant, which the server of the kernel
    /// cannot.
    #[must_use]
    pub fn with_nfs(self) -> Self {
        self.with_packaged("ganesha.nfsd", "nfs-ganesha")
            .with_packaged("mount.nfs", "nfs-common")
            .with_packaged("mount.nfs4", "nfs-common")
            .with_file(VFS)
            .with_file(TRANSPORTS)
            .with_modules(["nfs", "nfsv4"])
    }
}
