//! What the readers say against what `qemu-img` and `cryptsetup` say of the same bytes, and what they make of damage.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot make its input has failed"
)]

mod bounds;
mod costs;
mod damage;
mod lab;
mod lies;
mod luks1;
mod luks1_opened;
mod luks1_written;
mod luks2;
mod qcow2;
mod tolerance;
