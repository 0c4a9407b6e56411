use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};
use strongroom_endpoint_selector::{EndpointError, ErrorKind};

/// How many causes of an error are sent.
const CAUSES: usize = 16;

/// Why a host did not do what it was asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WireError {
    kind: String,
    operation: String,
    message: String,
    causes: Vec<String>,
}

/// Every kind, by the name that it has on the wire.
const KINDS: [ErrorKind; 16] = [
    ErrorKind::InvalidRequest,
    ErrorKind::Unsupported,
    ErrorKind::NotFound,
    ErrorKind::AlreadyExists,
    ErrorKind::WrongKey,
    ErrorKind::WrongDisk,
    ErrorKind::UntrustedImage,
    ErrorKind::NoSpace,
    ErrorKind::Busy,
    ErrorKind::PermissionDenied,
    ErrorKind::NoHost,
    ErrorKind::MissingTool,
    ErrorKind::Tool,
    ErrorKind::Io,
    ErrorKind::Cancelled,
    ErrorKind::Deadline,
];

impl From<&EndpointError> for WireError {
    fn from(error: &EndpointError) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let (Some(cause), true) = (next, causes.len() < CAUSES) {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self {
            kind: error.kind().as_str().to_owned(),
            operation: error.operation().to_owned(),
            message: error.message().to_owned(),
            causes,
        }
    }
}

impl WireError {
    /// The error as the caller gets it. It names the host, and the operation is the command's name here.
    pub(crate) fn told(self, operation: &'static str, host: &dyn fmt::Display) -> EndpointError {
        let kind = KINDS.into_iter().find(|kind| kind.as_str() == self.kind);
        let mut message = if self.operation == operation {
            format!("on host {host}: {}", self.message)
        } else {
            format!("on host {host}: {}: {}", self.operation, self.message)
        };
        if kind.is_none() {
            message = format!("{message} (a failure of the kind {:?})", self.kind);
        }
        let error = EndpointError::new(kind.unwrap_or(ErrorKind::Tool), operation, message);
        let cause = self.causes.into_iter().rev().fold(None, |source, text| {
            Some(RemoteCause {
                text,
                source: source.map(Box::new),
            })
        });
        match cause {
            Some(cause) => error.with_source(cause),
            None => error,
        }
    }
}

/// What caused a failure on another host, as it told.
#[derive(Debug)]
struct RemoteCause {
    text: String,
    source: Option<Box<Self>>,
}

impl fmt::Display for RemoteCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for RemoteCause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
