use strongroom_endpoint_selector::EndpointSelector;
use strongroom_types::Call;

/// What a driver is given besides the request: the call's deadline, cancellation and progress, and the hosts it may ask.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OpContext<'a> {
    /// Until when, whether still, and who watches.
    pub call: &'a Call,
    /// Where to ask for a host.
    pub endpoints: &'a dyn EndpointSelector,
}

impl<'a> OpContext<'a> {
    /// A context for one operation.
    #[must_use]
    pub fn new(call: &'a Call, endpoints: &'a dyn EndpointSelector) -> Self {
        Self { call, endpoints }
    }
}
