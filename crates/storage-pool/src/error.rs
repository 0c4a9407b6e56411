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

    /// A host failed to do what the driver asked of it. The kind is the host's.
    #[must_use]
    pub fn endpoint(operation: &'static str, error: EndpointError) -> Self {
        let (kind, message) = (error.kind(), error.message().to_owned());
        Self {
            kind,
            operation,
            message,
            source: Some(Box::new(error)),
        }
    }

    /// No host will do.
    #[must_use]
    pub fn no_host(operation: &'static str, error: NoHost) -> Self {
        let message = error.to_string();
        Self {
            kind: ErrorKind::NoHost,
            operation,
            message,
            source: Some(Box::new(error)),
        }
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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.operation, self.kind, self.message)
    }
}

impl Error for PoolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
