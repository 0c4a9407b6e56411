#![doc = include_str!("../README.md")]

mod cost;
mod disk;
mod error;
mod luks1;
mod luks1_cipher;
mod luks1_format;
mod luks1_key;
mod luks2;
mod luks2_copy;
mod luks2_json;
mod luks2_metadata;
mod magic;
mod opening;
mod qcow2;
mod qcow2_extensions;
mod qcow2_features;
mod qcow2_tables;
mod window;

pub use cost::CostLimit;
pub use disk::{Disk, read_disk};
pub use error::{Format, ImageError};
pub use luks1::{Luks1Header, Luks1Keyslot};
pub use luks1_format::Luks1Format;
pub use luks2::{Luks2Copy, Luks2Header};
pub use luks2_metadata::{Luks2Digest, Luks2Kdf, Luks2Keyslot, Luks2Metadata, Luks2Segment};
pub use magic::Magic;
pub use opening::open_disk;
pub use qcow2::{BackingFile, Compression, DataFile, EmbeddedLuks, Encryption, Qcow2Header};
pub use qcow2_features::Qcow2Features;
