use std::fmt;

use strongroom_types::HostId;

/// What a certificate lets its holder be. It stands in the certificate as a URI, and decides which side of a connection
/// the holder may take: nobody is both.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// It asks agents to do work.
    ControlPlane,
    /// It does work as this host.
    Agent(HostId),
}

impl Role {
    pub(crate) fn from_uri(uri: &str) -> Option<Self> {
        match uri.strip_prefix("strongroom:")? {
            "control-plane" => Some(Self::ControlPlane),
            other => other.strip_prefix("agent/")?.parse().ok().map(Self::Agent),
        }
    }

    /// The name for which a certificate of this role is made and checked.
    pub(crate) fn server_name(&self) -> String {
        match self {
            Self::ControlPlane => "control-plane".to_owned(),
            Self::Agent(host) => host.to_string(),
        }
    }

    /// The directory that holds a certificate of this role: `control-plane` or `agent-HOST`.
    #[must_use]
    pub fn directory(&self) -> String {
        match self {
            Self::ControlPlane => "control-plane".to_owned(),
            Self::Agent(host) => format!("agent-{host}"),
        }
    }
}

impl fmt::Display for Role {
    /// The URI: `strongroom:control-plane` or `strongroom:agent/HOST`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlPlane => f.write_str("strongroom:control-plane"),
            Self::Agent(host) => write!(f, "strongroom:agent/{host}"),
        }
    }
}
