#![doc = include_str!("../README.md")]

mod backup;
mod cipher;
mod claim;
mod clearance;
pub mod command;
mod content;
mod cryptsetup;
mod disk;
mod erase;
mod error;
mod exit;
mod format;
mod header;
mod inspection;
mod keyslots;
mod label;
mod luks1;
mod luks2;
mod luks2_area;
mod mapping;
mod mapping_name;
mod open;
mod passphrase_test;
mod pbkdf;
mod restore;
mod status;
mod target;

pub use backup::{HeaderBackup, Precaution};
pub use cipher::Cipher;
pub use clearance::{Cleared, Overwrite};
pub use content::Content;
pub use cryptsetup::Cryptsetup;
pub use error::CryptsetupError;
pub use format::{Format, Formatted, SectorSize};
pub use header::{Header, HeaderError, Kdf, Keyslot};
pub use inspection::{Inspection, inspect};
pub use label::{Label, LabelError};
pub use luks2_area::{Luks2Area, Luks2AreaError};
pub use mapping_name::{MappingName, MappingNameError};
pub use open::{Access, Discards, OpenOptions};
pub use pbkdf::{Pbkdf, PbkdfError};
pub use restore::RestoreOnto;
pub use status::{ActiveMapping, MappingStatus};
pub use target::Target;
/// What tells volumes apart: chosen before a volume is formatted, written into its header.
pub use uuid::Uuid;
