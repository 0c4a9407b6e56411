//! The program as a user runs it, on real tools and real files.
#![cfg(test)]

mod bad_input;
mod changed_images;
mod copies;
mod devices;
mod faults;
mod hosts;
mod kept_copies;
mod kills;
mod leak;
mod life;
mod machine;
mod ownership;
mod pool_check;
mod remote;
mod remote_kills;
mod vm_kills;
mod vms;
