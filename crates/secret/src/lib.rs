//! Passphrases that are never printed, and their hand-over to a child process.

mod handover;
mod passphrase;

pub use handover::{HandoverError, SecretFile};
pub use passphrase::{Origin, Passphrase, PassphraseError};
