use std::fmt;

use strongroom_types::{Call, HostFacts};

use crate::{EndpointError, HostAnswer, HostCommand};

/// A host that does storage work.
///
/// Required of implementors: a command either gives the answer that its documentation names, or an error after which the
/// storage is as it was or the same command finishes the work when it is run again. Keys in a command are used for its
/// length only, and no part of them reaches an error, a log or a file.
pub trait Endpoint: Send + Sync + fmt::Debug {
    /// What is known of the host now.
    fn host(&self) -> HostFacts;

    /// Carries out one command.
    ///
    /// # Errors
    /// [`EndpointError`], whose kind says what a caller can do about it.
    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError>;
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<E: Endpoint + ?Sized> Endpoint for $pointer {
            fn host(&self) -> HostFacts {
                (**self).host()
            }
            fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
                (**self).run(call, command)
            }
        }
    )+};
}
forward!(&E, Box<E>, std::sync::Arc<E>);
