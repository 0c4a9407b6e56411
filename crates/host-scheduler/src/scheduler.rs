use strongroom_types::HostFacts;

use crate::{
    CapabilityFilter, CapacityFilter, ExclusionFilter, HostFilter, Need, NoHost, PlacementFilter,
    ReachFilter, Rejection, StateFilter,
};

/// Chooses a host by filters, and says why when there is none.
///
/// The choice depends on the arguments alone. Of the hosts that pass every filter it is the one with the most free memory,
/// and among equals the one with the smallest id.
#[derive(Debug)]
pub struct Scheduler {
    filters: Vec<Box<dyn HostFilter>>,
}

impl Default for Scheduler {
    /// The filters of this crate: state, capabilities, reach, capacity, placement, exclusion.
    fn default() -> Self {
        Self {
            filters: vec![
                Box::new(StateFilter),
                Box::new(CapabilityFilter),
                Box::new(ReachFilter),
                Box::new(CapacityFilter),
                Box::new(PlacementFilter),
                Box::new(ExclusionFilter),
            ],
        }
    }
}

impl Scheduler {
    /// No filter: every host will do.
    #[must_use]
    pub fn empty() -> Self {
        Self { filters: Vec::new() }
    }

    /// The same with one more filter.
    #[must_use]
    pub fn with(mut self, filter: impl HostFilter + 'static) -> Self {
        self.filters.push(Box::new(filter));
        self
    }

    /// Every reason of every filter against the host; none when it will do.
    #[must_use]
    pub fn reasons(&self, need: &Need, host: &HostFacts) -> Vec<Rejection> {
        let mut reasons = Vec::new();
        for filter in &self.filters {
            filter.check(need, host, &mut reasons);
        }
        reasons
    }

    /// Chooses one of the hosts.
    ///
    /// # Errors
    /// [`NoHost`] with every reason against every host, in the order of the hosts.
    pub fn choose<'h>(
        &self,
        need: &Need,
        hosts: impl IntoIterator<Item = &'h HostFacts>,
    ) -> Result<&'h HostFacts, NoHost> {
        let mut rejections = Vec::new();
        let mut fit: Option<&HostFacts> = None;
        for host in hosts {
            let reasons = self.reasons(need, host);
            if !reasons.is_empty() {
                rejections.push((host.id.clone(), reasons));
            } else if fit.is_none_or(|best| (host.free_memory, &best.id) > (best.free_memory, &host.id)) {
                fit = Some(host);
            }
        }
        fit.ok_or_else(|| NoHost::new(rejections))
    }
}
