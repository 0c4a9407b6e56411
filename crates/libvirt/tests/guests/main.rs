//! Real guests on encrypted disks, under a libvirtd of the lab.
#![cfg(test)]

mod hot_disks;
mod refused;
mod secrets;
mod starting;
mod world;
