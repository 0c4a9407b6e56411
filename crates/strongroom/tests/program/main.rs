//! The program as a user runs it, on real tools and real files.
#![cfg(test)]

mod bad_input;
mod changed_images;
mod copies;
mod faults;
mod kills;
mod leak;
mod life;
mod machine;
mod ownership;
mod pool_check;
mod remote;
