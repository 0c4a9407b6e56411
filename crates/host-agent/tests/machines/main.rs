//! Virtual machines on a real libvirtd, with guests that answer.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot make its input has failed"
)]

#[path = "../real/hook.rs"]
mod hook;

mod attaching;
mod devices;
mod grown;
mod images;
mod keys;
mod killed;
mod killed_images;
mod moving;
mod probing;
mod starting;
mod together;
mod world;
