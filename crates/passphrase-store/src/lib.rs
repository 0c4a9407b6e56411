#![doc = include_str!("../README.md")]

mod aad;
mod error;
mod file_kek;
mod kek;
mod key_file;
mod keyring;
mod memory;
mod printable;
mod record;
pub mod sqlite;
mod store;

pub use error::{KekError, KeyringError, StoreError};
pub use file_kek::FileKek;
pub use kek::{KekId, KeyEncryptionKey};
pub use keyring::Keyring;
pub use memory::MemoryStore;
pub use record::{Owner, OwnerKind, Purpose, SealedRecord};
pub use store::PassphraseStore;
