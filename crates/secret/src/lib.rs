#![doc = include_str!("../README.md")]

mod handover;
mod passphrase;
mod tmpfs;

pub use handover::{HandoverError, SecretFile};
pub use passphrase::{Origin, Passphrase, PassphraseError};
pub use tmpfs::Rejected;
