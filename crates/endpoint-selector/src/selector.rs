use std::fmt;
use std::sync::Arc;

use strongroom_host_scheduler::{Need, NoHost, Rejection, Scheduler};
use strongroom_types::HostId;

use crate::Endpoint;

/// Finds a host for a piece of storage work.
pub trait EndpointSelector: Send + Sync + fmt::Debug {
    /// The endpoint to ask.
    ///
    /// # Errors
    /// [`NoHost`] with every reason against every host.
    fn select(&self, need: &Need) -> Result<Arc<dyn Endpoint>, NoHost>;

    /// The endpoint of this host, whether or not it takes new work: for what goes on there already.
    ///
    /// # Errors
    /// [`NoHost`] when it is not known.
    fn endpoint(&self, host: &HostId) -> Result<Arc<dyn Endpoint>, NoHost> {
        self.select(&Need::any().on(host.clone()))
    }
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<S: EndpointSelector + ?Sized> EndpointSelector for $pointer {
            fn select(&self, need: &Need) -> Result<Arc<dyn Endpoint>, NoHost> {
                (**self).select(need)
            }
            fn endpoint(&self, host: &HostId) -> Result<Arc<dyn Endpoint>, NoHost> {
                (**self).endpoint(host)
            }
        }
    )+};
}
forward!(&S, Box<S>, Arc<S>);

/// The default selector: a list of endpoints, chosen from by a [`Scheduler`].
#[derive(Debug, Default)]
pub struct RegisteredEndpoints {
    endpoints: Vec<Arc<dyn Endpoint>>,
    scheduler: Scheduler,
}

impl RegisteredEndpoints {
    /// No endpoint yet, and the scheduler's own filters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with other filters.
    #[must_use]
    pub fn with_scheduler(mut self, scheduler: Scheduler) -> Self {
        self.scheduler = scheduler;
        self
    }

    /// Adds an endpoint, in place of an earlier one of the same host.
    pub fn register(&mut self, endpoint: Arc<dyn Endpoint>) {
        let id = endpoint.host().id;
        self.endpoints.retain(|e| e.host().id != id);
        self.endpoints.push(endpoint);
    }

    /// Every endpoint, in the order of registration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Endpoint>> {
        self.endpoints.iter()
    }
}

impl EndpointSelector for RegisteredEndpoints {
    fn select(&self, need: &Need) -> Result<Arc<dyn Endpoint>, NoHost> {
        let facts: Vec<_> = self.endpoints.iter().map(|e| e.host()).collect();
        let chosen = self.scheduler.choose(need, &facts)?;
        let asked = self
            .endpoints
            .iter()
            .zip(&facts)
            .find(|(_, f)| std::ptr::eq(*f, chosen));
        asked
            .map(|(e, _)| Arc::clone(e))
            .ok_or_else(|| NoHost::new(Vec::new()))
    }

    fn endpoint(&self, host: &HostId) -> Result<Arc<dyn Endpoint>, NoHost> {
        let known = self.endpoints.iter().find(|e| e.host().id == *host);
        known.cloned().ok_or_else(|| {
            let others = self.endpoints.iter().map(|e| e.host().id);
            NoHost::new(
                others
                    .map(|id| (id, vec![Rejection::Another(host.clone())]))
                    .collect(),
            )
        })
    }
}
