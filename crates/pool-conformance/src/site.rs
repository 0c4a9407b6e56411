use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use strongroom_endpoint_selector::{Endpoint, EndpointSelector, RegisteredEndpoints};
use strongroom_storage_pool::{Attachment, PoolDriver};
use strongroom_types::{GuestSize, HostId, VolumeId};

use crate::guest::Guest;

type Opened = Result<Box<dyn PoolDriver>, Box<dyn Error + Send + Sync>>;
pub(crate) type Open = Arc<dyn Fn() -> Opened + Send + Sync>;
type Images = Arc<dyn Fn(&str, &[u8]) -> io::Result<PathBuf> + Send + Sync>;
type Listing = Arc<dyn Fn() -> io::Result<BTreeSet<String>> + Send + Sync>;
type Storage = Arc<dyn Fn() -> io::Result<Vec<PathBuf>> + Send + Sync>;
type Stored = Arc<dyn Fn(&VolumeId, &Attachment) -> io::Result<Vec<u8>> + Send + Sync>;

/// The driver to check, and what the suite may use around it.
///
/// The suite makes and deletes volumes in the pool, all of them under ids that it chose. It touches no others.
#[derive(Clone)]
pub struct Site {
    pub(crate) open: Open,
    pub(crate) other_pool: Option<Open>,
    pub(crate) selector: Option<Arc<dyn EndpointSelector>>,
    pub(crate) hosts: Vec<Arc<dyn Endpoint>>,
    pub(crate) images: Option<Images>,
    pub(crate) stored: Option<Stored>,
    pub(crate) listing: Option<Listing>,
    pub(crate) storage: Option<Storage>,
    pub(crate) guest: Option<Arc<dyn Guest>>,
    pub(crate) host: Option<HostId>,
    pub(crate) size: u64,
    pub(crate) patience: Duration,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

fn boxed<D, E>(open: impl Fn() -> Result<D, E> + Send + Sync + 'static) -> Open
where
    D: PoolDriver + 'static,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    Arc::new(move || match open() {
        Ok(driver) => Ok(Box::new(driver)),
        Err(e) => Err(e.into()),
    })
}

impl Site {
    /// A driver that asks no host. `open` gives a driver on the same storage each time, as after a restart.
    #[must_use]
    pub fn new<D, E>(open: impl Fn() -> Result<D, E> + Send + Sync + 'static) -> Self
    where
        D: PoolDriver + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Self {
            open: boxed(open),
            other_pool: None,
            selector: None,
            hosts: Vec::new(),
            images: None,
            stored: None,
            listing: None,
            storage: None,
            guest: None,
            host: None,
            size: 1 << 20,
            patience: Duration::from_secs(60),
        }
    }

    /// The same with a host that the driver may ask. Volumes are attached to the first one, and looked at from there.
    #[must_use]
    pub fn with_host(mut self, host: Arc<dyn Endpoint>) -> Self {
        self.hosts.push(host);
        self
    }

    /// The same with another way to choose among hosts than [`RegisteredEndpoints`].
    #[must_use]
    pub fn with_selector(mut self, selector: Arc<dyn EndpointSelector>) -> Self {
        self.selector = Some(selector);
        self
    }

    /// The same with the id of a host to attach volumes to, where the driver asks no host.
    #[must_use]
    pub fn with_host_id(mut self, host: HostId) -> Self {
        self.host = Some(host);
        self
    }

    /// The same with a driver of another pool on the same storage, which has to be refused.
    #[must_use]
    pub fn with_other_pool<D, E>(mut self, open: impl Fn() -> Result<D, E> + Send + Sync + 'static) -> Self
    where
        D: PoolDriver + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.other_pool = Some(boxed(open));
        self
    }

    /// The same with a way to put a raw image where the host that makes volumes finds it: name and content in, absolute path out. Without
    /// it, images are files in a temporary directory of this machine.
    #[must_use]
    pub fn with_images(
        mut self,
        put: impl Fn(&str, &[u8]) -> io::Result<PathBuf> + Send + Sync + 'static,
    ) -> Self {
        self.images = Some(Arc::new(put));
        self
    }

    /// The same with a way to read the bytes of a volume as somebody who steals the storage would: not through the driver, and not
    /// through the cipher. Without it, the file or device of the attachment is read, where it is on this machine and the host encrypts.
    #[must_use]
    pub fn with_stored(
        mut self,
        read: impl Fn(&VolumeId, &Attachment) -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        self.stored = Some(Arc::new(read));
        self
    }

    /// The same with a way to name all that is in the storage, past the driver: what a failure leaves behind is seen there.
    #[must_use]
    pub fn with_listing(
        mut self,
        list: impl Fn() -> io::Result<BTreeSet<String>> + Send + Sync + 'static,
    ) -> Self {
        self.listing = Some(Arc::new(list));
        self
    }

    /// The same with a way to name all files, directories and devices in which the pool stores anything, on this machine: they are
    /// searched for keys.
    #[must_use]
    pub fn with_storage(
        mut self,
        storage: impl Fn() -> io::Result<Vec<PathBuf>> + Send + Sync + 'static,
    ) -> Self {
        self.storage = Some(Arc::new(storage));
        self
    }

    /// The same with another way to see a volume as a guest does. Without it, the first host's commands are used.
    #[must_use]
    pub fn with_guest(mut self, guest: Arc<dyn Guest>) -> Self {
        self.guest = Some(guest);
        self
    }

    /// The same with volumes of about this size instead of 1 MiB: a few sectors more, and 2 MiB more than that after growth.
    #[must_use]
    pub fn with_size(mut self, size: GuestSize) -> Self {
        self.size = size.get();
        self
    }

    /// The same with another time, instead of a minute, after which a check that does not end has failed.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Looks at the bytes of a volume in the way that the site has.
    ///
    /// # Errors
    /// When the site has no way of its own, and when that fails.
    pub fn look(&self, volume: &VolumeId, at: &Attachment) -> io::Result<Vec<u8>> {
        match &self.stored {
            Some(read) => read(volume, at),
            None => Err(io::Error::other("the site has no look into the storage")),
        }
    }

    pub(crate) fn selector(&self) -> Arc<dyn EndpointSelector> {
        if let Some(selector) = &self.selector {
            return Arc::clone(selector);
        }
        let mut registered = RegisteredEndpoints::new();
        for host in &self.hosts {
            registered.register(Arc::clone(host));
        }
        Arc::new(registered)
    }
}
