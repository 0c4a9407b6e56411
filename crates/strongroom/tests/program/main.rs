//! The program as a user runs it, on real tools and real files.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot make its input has failed"
)]

mod bad_input;
mod faults;
mod kills;
mod leak;
mod life;
mod machine;
