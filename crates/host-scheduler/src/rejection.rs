use std::fmt;

use strongroom_types::{ByteSize, Capability, ClusterId, HostId, HostState, PoolId, ZoneId};

/// Why a host will not do. Its text is a fragment that follows the host's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It takes no new work.
    #[error("is {state}", state = state(*.0))]
    State(HostState),
    /// It cannot do what is needed.
    #[error("lacks {capability}: {reason}")]
    Capability {
        /// What is needed.
        capability: Capability,
        /// What its probe found.
        reason: String,
    },
    /// It does not reach a pool.
    #[error("does not reach pool {0}")]
    Pool(PoolId),
    /// It has too little free memory.
    #[error("has {free} of memory free where {needed} is needed")]
    Memory {
        /// What is needed.
        needed: ByteSize,
        /// What it has.
        free: ByteSize,
    },
    /// It has too few free cores.
    #[error("has {free} cores free where {needed} are needed")]
    Cores {
        /// What is needed.
        needed: u32,
        /// What it has.
        free: u32,
    },
    /// It is in another cluster.
    #[error("is not in cluster {0}")]
    Cluster(ClusterId),
    /// It is in another zone.
    #[error("is not in zone {0}")]
    Zone(ZoneId),
    /// The caller wants another host.
    #[error("is not {0}")]
    Another(HostId),
    /// The caller ruled it out.
    #[error("is ruled out by the caller")]
    Excluded,
    /// A reason of a filter from elsewhere.
    #[error("{reason}")]
    Other {
        /// The reason, as a fragment that follows the host's name.
        reason: String,
    },
}

fn state(state: HostState) -> String {
    match state {
        HostState::Maintenance => "in maintenance".to_owned(),
        other => other.to_string(),
    }
}

/// No host will do, and why each will not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoHost {
    /// Every host that was looked at, with every reason against it.
    pub rejections: Vec<(HostId, Vec<Rejection>)>,
}

impl NoHost {
    /// Of these hosts none will do.
    #[must_use]
    pub fn new(rejections: Vec<(HostId, Vec<Rejection>)>) -> Self {
        Self { rejections }
    }
}

impl fmt::Display for NoHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rejections.is_empty() {
            return f.write_str("no host is registered");
        }
        f.write_str("no host will do")?;
        for (position, (host, reasons)) in self.rejections.iter().enumerate() {
            write!(f, "{}{host} ", if position == 0 { ": " } else { "; " })?;
            for (position, reason) in reasons.iter().enumerate() {
                write!(f, "{}{reason}", if position == 0 { "" } else { " and " })?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for NoHost {}
