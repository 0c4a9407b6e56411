use std::error::Error;
use std::fmt;

/// What kind of failure it is: what a caller decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request itself is wrong: asking again will not help.
    InvalidRequest,
    /// This host cannot do it, or not here.
    Unsupported,
    /// The thing is not there.
    NotFound,
    /// The name is taken, or there is something that would be overwritten.
    AlreadyExists,
    /// The key does not open the disk.
    WrongKey,
    /// What is on the disk is not what the request says: plain for encrypted, another LUKS, a damaged header.
    WrongDisk,
    /// An image from outside has something that is not allowed: a backing file, a data file, a lying size.
    UntrustedImage,
    /// The storage is full.
    NoSpace,
    /// Somebody else has it open.
    Busy,
    /// The storage may not be written or read.
    PermissionDenied,
    /// No host will do.
    NoHost,
    /// A tool is not installed.
    MissingTool,
    /// A tool failed, hung, flooded or died.
    Tool,
    /// The operating system reported a failure.
    Io,
    /// The caller asked to stop.
    Cancelled,
    /// The time that the caller gave is over.
    Deadline,
}

impl ErrorKind {
    /// The kind in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid request",
            Self::Unsupported => "unsupported",
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::WrongKey => "wrong key",
            Self::WrongDisk => "wrong disk",
            Self::UntrustedImage => "untrusted image",
            Self::NoSpace => "no space",
            Self::Busy => "busy",
            Self::PermissionDenied => "permission denied",
            Self::NoHost => "no host",
            Self::MissingTool => "missing tool",
            Self::Tool => "tool failure",
            Self::Io => "input/output error",
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline exceeded",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a host did not do what it was asked: kind, operation, message and source. It never holds a key.
#[derive(Debug)]
pub struct EndpointError {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl EndpointError {
    /// A failure. The operation is the command's name; the message says what was wrong, where, and what to do.
    #[must_use]
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            operation,
            message: message.into(),
            source: None,
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

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.operation, self.kind, self.message)
    }
}

impl Error for EndpointError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|e| e as _)
    }
}
