//! Every command on real tools and real files.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot make its input has failed"
)]

mod bench;
mod create;
mod erase;
mod format;
mod full_disk;
mod in_place;
mod inspect;
mod life;
mod names;
mod probe;
mod sizes;
mod templates;
mod unsound;
