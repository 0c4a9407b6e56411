use std::collections::{BTreeMap, BTreeSet};

use crate::{ByteSize, CapabilityReport, ClusterId, HostId, PoolId, ZoneId};

/// Whether a host takes new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum HostState {
    /// It does.
    Up,
    /// An operator is emptying it.
    Maintenance,
    /// An operator switched it off for scheduling.
    Disabled,
    /// It does not answer.
    Down,
}

impl HostState {
    /// The name that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Maintenance => "maintenance",
            Self::Disabled => "disabled",
            Self::Down => "down",
        }
    }
}

impl std::fmt::Display for HostState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is known of a host: plain data that filters and selectors decide by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct HostFacts {
    /// Which host.
    pub id: HostId,
    /// Whether it takes new work.
    pub state: HostState,
    /// What it can do, with the evidence.
    pub capabilities: CapabilityReport,
    /// The tools found, by name, and what they say of their version.
    pub tools: BTreeMap<String, String>,
    /// The pools whose storage it reaches.
    pub pools: BTreeSet<PoolId>,
    /// The cluster it belongs to.
    pub cluster: Option<ClusterId>,
    /// The zone it belongs to.
    pub zone: Option<ZoneId>,
    /// Memory not yet promised to anybody.
    pub free_memory: ByteSize,
    /// Processor cores not yet promised to anybody.
    pub free_cores: u32,
}

impl HostFacts {
    /// A host that is up and of which nothing else is known: it can do nothing and reaches no pool.
    #[must_use]
    pub fn new(id: HostId) -> Self {
        Self {
            id,
            state: HostState::Up,
            capabilities: CapabilityReport::new(),
            tools: BTreeMap::new(),
            pools: BTreeSet::new(),
            cluster: None,
            zone: None,
            free_memory: ByteSize::bytes(0),
            free_cores: 0,
        }
    }
}
