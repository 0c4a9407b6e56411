#![doc = include_str!("../README.md")]

mod claim;
mod create;
mod delete;
mod errand;
mod grow;
mod kind;
mod label;
mod overlay;
mod pool;
mod shelf;
mod shelf_device;
mod shelf_file;
mod shrink;
mod snapshot;
mod storage;
mod template;

pub use claim::Claim;
pub use label::{Label, ParseLabelError, Stage};
pub use pool::BlockPool;
pub use shelf::DeviceShelf;
pub use shelf_device::ShelfDevice;
pub use storage::{BlockStorage, HandedOver, Provided, StorageFeatures, Supply};
pub use strongroom_storage_pool::ErrorKind;
