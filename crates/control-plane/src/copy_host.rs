//! Copying between two disks: the host that does it reaches both.

use std::sync::Arc;

use strongroom_endpoint_selector::{Endpoint, EndpointSelector, Need, NoHost};
use strongroom_storage_pool::OpContext;
use strongroom_types::{Call, Capability, HostId, PoolId};

use crate::{ControlPlane, ControlPlaneError};

/// The hosts of another selector, but for all that are not this one: the source of a copy is attached there.
#[derive(Debug)]
pub(crate) struct OnlyHost<'a> {
    all: &'a dyn EndpointSelector,
    host: HostId,
}

impl EndpointSelector for OnlyHost<'_> {
    fn select(&self, need: &Need) -> Result<Arc<dyn Endpoint>, NoHost> {
        self.all.select(&need.clone().on(self.host.clone()))
    }

    fn endpoint(&self, host: &HostId) -> Result<Arc<dyn Endpoint>, NoHost> {
        self.all.endpoint(host)
    }
}

impl<'a> OnlyHost<'a> {
    /// What a driver is given for work on this host.
    pub(crate) fn context(&'a self, call: &'a Call) -> OpContext<'a> {
        OpContext::new(call, self)
    }
}

impl ControlPlane {
    /// This host and no other.
    pub(crate) fn only(&self, endpoint: &dyn Endpoint) -> OnlyHost<'_> {
        OnlyHost {
            all: self.endpoints.as_ref(),
            host: endpoint.host().id,
        }
    }

    /// A host that reaches all of these pools and can do all of this.
    pub(crate) fn host_that<const P: usize, const C: usize>(
        &self,
        pools: [&PoolId; P],
        capabilities: [Capability; C],
        action: &str,
    ) -> Result<Arc<dyn Endpoint>, ControlPlaneError> {
        let need = pools
            .into_iter()
            .fold(Need::any(), |need, pool| need.reaching(pool.clone()));
        let need = capabilities.into_iter().fold(need, Need::able_to);
        self.select(&need, action)
    }
}
