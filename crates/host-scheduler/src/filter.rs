use std::fmt;

use strongroom_types::HostFacts;

use crate::{Need, Rejection};

/// One reason for which a host may not do.
///
/// Required: the answer depends on the arguments and the filter alone. No clock, no file, no network, no chance: the
/// same question has the same answer, here and in a log read tomorrow.
pub trait HostFilter: Send + Sync + fmt::Debug {
    /// Adds every reason of this filter against the host to `reasons`; adds nothing when it has none.
    fn check(&self, need: &Need, host: &HostFacts, reasons: &mut Vec<Rejection>);
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<F: HostFilter + ?Sized> HostFilter for $pointer {
            fn check(&self, need: &Need, host: &HostFacts, reasons: &mut Vec<Rejection>) {
                (**self).check(need, host, reasons);
            }
        }
    )+};
}
forward!(&F, Box<F>, std::sync::Arc<F>);
