//! Real guests on encrypted disks, under a libvirtd of the lab.
#![cfg(test)]

mod backups;
mod content;
mod copies;
mod flattening;
mod frozen;
mod full_disk;
mod growing;
mod hot_disks;
mod keyslots;
mod refused;
mod secrets;
mod snapshots;
mod starting;
mod world;
mod writer;
