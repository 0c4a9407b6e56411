use std::error::Error;
use std::fmt;

use strongroom_endpoint_selector::{EndpointError, ErrorKind, NoHost};

/// Why a pool did not do what it was asked: kind, operation, message and source. It never holds a key.
#[derive(Debug)]
pub struct PoolError {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl PoolError {
    /// A failure. The operation is the method's name; the message says what was wrong, where, and what to do.
    #[must_use]
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            operation,
            message: message.into(),
            source: None,
        }
    }

    /// The pool does not offer this.
    #[must_use]
    pub fn unsupported(operation: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, operation, message)
    }

    /// A host failed to do what the driver asked of it. The message says where; kind and reason are the host's, which is the
    /// source.
    #[must_use]
    pub fn endpoint(operation: &'static str, message: impl Into<String>, error: EndpointError) -> Self {
        Self::new(error.kind(), operation, message).with_source(error)
    }

    /// No host will do. Every reason is in the source.
    #[must_use]
    pub fn no_host(operation: &'static str, error: NoHost) -> Self {
        Self::new(ErrorKind::NoHost, operation, "there is no host for it").with_source(error)
    }

    /// The same with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was being done.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// What was wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for PoolError {
    /// Operation, kind and message; without the kind where the source says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |e: &(dyn Error + Send + Sync + 'static)| e.is::<EndpointError>() || e.is::<NoHost>();
        if self.source.as_deref().is_some_and(said) {
            write!(f, "{}: {}", self.operation, self.message)
        } else {
            write!(f, "{}: {}: {}", self.operation, self.kind, self.message)
        }
    }
}

impl Error for PoolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
