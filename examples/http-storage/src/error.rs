use std::io;

/// Why the service did not do what it was asked. It never holds a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// There is no such volume or snapshot, or no such address.
    #[error("there is no {0}")]
    NotFound(String),
    /// There is a volume of this name, but not the one that was asked for.
    #[error("{0}")]
    Conflict(String),
    /// The passphrase does not open the volume.
    #[error("the passphrase does not open volume {0}")]
    WrongKey(String),
    /// The volume is encrypted, and since the service was started nobody has opened it.
    #[error("volume {0} is locked; unlock it with its passphrase")]
    Locked(String),
    /// Somebody has the volume open.
    #[error("volume {0} is open on a host")]
    Busy(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// What is on the disk was changed by somebody else, or is half written.
    #[error("volume {volume} is damaged: {what}")]
    Damaged {
        /// Which volume.
        volume: String,
        /// What is wrong with it.
        what: String,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// The operating system reported a failure.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// The failure.
        source: io::Error,
    },
}

impl StorageError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// The status code of an answer that says this (RFC 9110; 423 is of RFC 4918).
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::NotFound(_) => 404,
            Self::Conflict(_) | Self::Busy(_) => 409,
            Self::WrongKey(_) => 403,
            Self::Locked(_) => 423,
            Self::Invalid(_) => 422,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => 507,
            Self::Damaged { .. } | Self::Random | Self::Io { .. } => 500,
        }
    }

    /// One word for a client to decide by.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not-found",
            Self::Conflict(_) => "conflict",
            Self::WrongKey(_) => "wrong-key",
            Self::Locked(_) => "locked",
            Self::Busy(_) => "busy",
            Self::Invalid(_) => "invalid",
            Self::Damaged { .. } => "damaged",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => "full",
            Self::Random | Self::Io { .. } => "failed",
        }
    }
}
