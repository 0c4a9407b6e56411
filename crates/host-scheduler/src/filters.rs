use strongroom_types::{HostFacts, HostState};

use crate::{HostFilter, Need, Rejection};

/// The host takes new work.
#[derive(Debug, Clone, Copy, Default)]
pub struct StateFilter;

impl HostFilter for StateFilter {
    fn check(&self, _: &Need, host: &HostFacts, reasons: &mut Vec<Rejection>) {
        if host.state != HostState::Up {
            reasons.push(Rejection::State(host.state));
        }
    }
}

/// The host can do all that is needed, encryption above all. A capability that was not probed is missing.
#[derive(Debug, Clone, Copy, Default)]
pub struct CapabilityFilter;

impl HostFilter for CapabilityFilter {
    fn check(&self, need: &Need, host: &HostFacts, reasons: &mut Vec<Rejection>) {
        reasons.extend(need.capabilities.iter().filter_map(|&capability| {
            let reason = host.capabilities.why_missing(capability)?.to_owned();
            Some(Rejection::Capability { capability, reason })
        }));
    }
}

/// The host reaches every pool that is needed.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReachFilter;

impl HostFilter for ReachFilter {
    fn check(&self, need: &Need, host: &HostFacts, reasons: &mut Vec<Rejection>) {
        reasons.extend(need.pools.difference(&host.pools).cloned().map(Rejection::Pool));
    }
}

/// The host has the memory and the cores.
#[derive(Debug, Clone, Copy, Default)]
pub struct CapacityFilter;

impl HostFilter for CapacityFilter {
    fn check(&self, need: &Need, host: &HostFacts, reasons: &mut Vec<Rejection>) {
        if host.free_memory < need.memory {
            reasons.push(Rejection::Memory {
                needed: need.memory,
                free: host.free_memory,
            });
        }
        if host.free_cores < need.cores {
            reasons.push(Rejection::Cores {
                needed: need.cores,
                free: host.free_cores,
            });
        }
    }
}

/// The host is the one that is needed, and in the cluster and zone that are needed.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlacementFilter;

impl HostFilter for PlacementFilter {
    fn check(&self, need: &Need, host: &HostFacts, reasons: &mut Vec<Rejection>) {
        if let Some(wanted) = need.host.as_ref().filter(|h| **h != host.id) {
            reasons.push(Rejection::Another(wanted.clone()));
        }
        if let Some(cluster) = need.cluster.as_ref().filter(|c| host.cluster.as_ref() != Some(c)) {
            reasons.push(Rejection::Cluster(cluster.clone()));
        }
        if let Some(zone) = need.zone.as_ref().filter(|z| host.zone.as_ref() != Some(z)) {
            reasons.push(Rejection::Zone(zone.clone()));
        }
    }
}

/// The caller did not rule the host out.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExclusionFilter;

impl HostFilter for ExclusionFilter {
    fn check(&self, need: &Need, host: &HostFacts, reasons: &mut Vec<Rejection>) {
        if need.exclude.contains(&host.id) {
            reasons.push(Rejection::Excluded);
        }
    }
}
