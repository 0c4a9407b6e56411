#![doc = include_str!("../README.md")]

mod attachment;
mod block_info;
mod connection;
mod diagnosis;
mod disk;
mod document;
mod domain;
mod error;
mod host;
mod identity;
mod image;
mod live;
mod machine;
mod monitor;
mod refusal;
mod secret;
mod secrets;
mod virsh;
pub mod xml;

pub use attachment::DETACH_LIMIT;
pub use block_info::BlockInfo;
pub use connection::{Connection, ParseUriError, Uri};
pub use disk::{Cache, DiskSerial, DomainDisk};
pub use document::Document;
pub use domain::{Accelerator, Boot, Domain, Serial};
pub use error::LibvirtError;
pub use identity::domain_uuid;
pub use image::{Image, Source};
pub use live::{LiveDisk, LiveDomain, LiveEncryption, LiveImage, Mirror};
pub use machine::{Machine, MachineState};
pub use monitor::{BlockJob, BlockNode};
pub use refusal::Refusal;
pub use secret::SecretName;
pub use virsh::{LIMIT, Virsh};
