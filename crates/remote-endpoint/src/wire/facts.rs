use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use strongroom_types::{
    ByteSize, CapabilityReport, ClusterId, Finding, HostFacts, HostId, HostState, PoolId, ZoneId,
};

/// What is known of a host. Capabilities go by name: one that the other side does not know is left out there, and so counts as missing.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireFacts {
    id: HostId,
    state: HostState,
    capabilities: Vec<(String, Finding)>,
    tools: BTreeMap<String, String>,
    pools: BTreeSet<PoolId>,
    cluster: Option<ClusterId>,
    zone: Option<ZoneId>,
    free_memory: ByteSize,
    free_cores: u32,
}

impl From<HostFacts> for WireFacts {
    fn from(facts: HostFacts) -> Self {
        let findings = facts.capabilities.findings();
        Self {
            capabilities: findings
                .map(|(capability, finding)| (capability.to_string(), finding.clone()))
                .collect(),
            id: facts.id,
            state: facts.state,
            tools: facts.tools,
            pools: facts.pools,
            cluster: facts.cluster,
            zone: facts.zone,
            free_memory: facts.free_memory,
            free_cores: facts.free_cores,
        }
    }
}

impl From<WireFacts> for HostFacts {
    fn from(wire: WireFacts) -> Self {
        let mut facts = Self::new(wire.id);
        facts.state = wire.state;
        facts.capabilities = wire
            .capabilities
            .into_iter()
            .filter_map(|(name, finding)| Some((name.parse().ok()?, finding)))
            .collect::<CapabilityReport>();
        facts.tools = wire.tools;
        facts.pools = wire.pools;
        facts.cluster = wire.cluster;
        facts.zone = wire.zone;
        facts.free_memory = wire.free_memory;
        facts.free_cores = wire.free_cores;
        facts
    }
}
