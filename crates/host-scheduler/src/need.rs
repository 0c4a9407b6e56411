use std::collections::BTreeSet;

use strongroom_types::{ByteSize, Capability, ClusterId, HostId, PoolId, ZoneId};

/// What a piece of work asks of a host. Nothing is asked unless it is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Need {
    /// Pools whose storage the host must reach, all of them.
    pub pools: BTreeSet<PoolId>,
    /// What the host must be able to do, all of it.
    pub capabilities: BTreeSet<Capability>,
    /// Free memory.
    pub memory: ByteSize,
    /// Free processor cores.
    pub cores: u32,
    /// The cluster it must be in.
    pub cluster: Option<ClusterId>,
    /// The zone it must be in.
    pub zone: Option<ZoneId>,
    /// The one host that will do; any when there is none.
    pub host: Option<HostId>,
    /// Hosts that will not do.
    pub exclude: BTreeSet<HostId>,
}

impl Need {
    /// Any host that takes work.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// The same, and it reaches this pool.
    #[must_use]
    pub fn reaching(mut self, pool: PoolId) -> Self {
        self.pools.insert(pool);
        self
    }

    /// The same, and it can do this.
    #[must_use]
    pub fn able_to(mut self, capability: Capability) -> Self {
        self.capabilities.insert(capability);
        self
    }

    /// The same with this much free.
    #[must_use]
    pub fn with_free(mut self, memory: ByteSize, cores: u32) -> Self {
        self.memory = memory;
        self.cores = cores;
        self
    }

    /// The same, and it is this host.
    #[must_use]
    pub fn on(mut self, host: HostId) -> Self {
        self.host = Some(host);
        self
    }

    /// The same, but not this host.
    #[must_use]
    pub fn not_on(mut self, host: HostId) -> Self {
        self.exclude.insert(host);
        self
    }
}
