use std::sync::Arc;

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_pool_conformance::Site;
use strongroom_storage_pool::fake::MemoryPool;
use strongroom_storage_pool::{Capabilities, Encryption};

use crate::faulty::{Faults, Faulty, Memory};
use crate::on_host::OnHost;
use crate::site::{gold, in_memory, node, on_host, pool_id};

type Change = Box<dyn Fn(Site, &Arc<MemoryPool>) -> Site>;

/// A driver with one fault, and its site.
pub(crate) struct Mutant {
    pub(crate) faults: Faults,
    pub(crate) pool: Arc<MemoryPool>,
    pub(crate) node: Arc<MemoryEndpoint>,
    hosted: bool,
    site: Option<Change>,
}

/// Puts a fault into a sound driver.
pub(crate) type Spoil = fn(&mut Mutant);

impl Mutant {
    pub(crate) fn new(spoil: Spoil) -> Self {
        let mut mutant = Self {
            faults: Faults::default(),
            pool: Arc::new(gold()),
            node: node(),
            hosted: false,
            site: None,
        };
        spoil(&mut mutant);
        mutant
    }

    /// The sound driver is one that has a host do everything.
    pub(crate) fn on_host(&mut self) -> &mut Faults {
        self.hosted = true;
        &mut self.faults
    }

    /// The site is another.
    pub(crate) fn site_is(&mut self, change: impl Fn(Site, &Arc<MemoryPool>) -> Site + 'static) {
        self.site = Some(Box::new(change));
    }

    /// The sound driver is one with other capabilities.
    pub(crate) fn able(&mut self, change: impl FnOnce(&mut Capabilities)) -> &mut Faults {
        let mut capabilities = strongroom_storage_pool::PoolDriver::capabilities(&self.pool);
        change(&mut capabilities);
        self.pool = Arc::new(gold().with_capabilities(capabilities));
        &mut self.faults
    }

    pub(crate) fn without_encryption(&mut self) -> &mut Faults {
        self.able(|can| can.encryption = Encryption::Unsupported)
    }

    pub(crate) fn site(self) -> Site {
        let inner: Arc<dyn strongroom_storage_pool::PoolDriver> = if self.hosted {
            Arc::new(OnHost(pool_id("gold")))
        } else {
            Arc::clone(&self.pool) as _
        };
        let driver = Faulty {
            inner,
            faults: self.faults,
            memory: Memory::default(),
        };
        let site = if self.hosted {
            on_host(&self.node, driver)
        } else {
            in_memory(&self.pool, driver)
        };
        match self.site {
            Some(change) => change(site, &self.pool),
            None => site,
        }
    }
}
