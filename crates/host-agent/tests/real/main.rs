//! Every command on real tools and real files.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot make its input has failed"
)]

mod bases;
mod bench;
mod blank;
mod canary;
mod changing;
mod copies;
mod create;
mod declassified;
mod devices;
mod devices_in_guest;
mod digests;
mod directories;
mod erase;
mod flatten;
mod flatten_devices;
mod format;
mod full_disk;
mod fuse;
mod hangs;
mod holes;
mod hook;
mod in_place;
mod inspect;
mod itself;
mod life;
mod loops;
mod names;
mod nfs;
mod no_room;
mod overlays;
mod probe;
mod qcow2_devices;
mod shared_devices;
mod shrink;
mod sizes;
mod stacked;
mod tampering;
mod templates;
mod unsound;
