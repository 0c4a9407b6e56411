//! XML as libvirt speaks it: a small tree, written escaped and read bounded.
//!
//! [`Element`] is what the typed descriptions of this crate become and what the answers of libvirt are read as. It is public for
//! what this crate has no type for yet.

mod element;
mod reader;
mod text;

pub use element::Element;
pub use reader::XmlError;
