use std::io;
use std::path::PathBuf;

/// Why certificates could not be made or used, or an agent could not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}", path = .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is there and would be overwritten.
    #[error("{path} is there already and stays; choose another directory, or remove it", path = .0.display())]
    Taken(PathBuf),
    /// Others than its owner can read a private key.
    #[error("others may read the private key {path}; make it private: chmod 600 {path}", path = .0.display())]
    Exposed(PathBuf),
    /// A file holds no certificate or key.
    #[error("{path} holds no {what} in PEM form", path = .path.display())]
    Pem {
        /// What it should hold.
        what: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// A certificate cannot be used: it expired, or its authority did not sign it, or it is for nobody.
    #[error("the certificate {path} cannot be used: {reason}", path = .path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A certificate has another role than the one that is needed.
    #[error("the certificate is that of {found}, and {needed} is needed")]
    WrongRole {
        /// The role that it has.
        found: String,
        /// The role that is needed.
        needed: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate for {role}")]
    Make {
        /// For whom.
        role: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The TLS library refused what it was given.
    #[error("the TLS library does not take these certificates")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The address could not be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which address.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The operating system gave no random bytes or no thread.
    #[error("the operating system gave no {0}")]
    System(&'static str),
}
