//! The real cryptsetup and qemu-img, on files, and on loop devices where the tests run as root.
#![cfg(test)]

mod alone;
mod backups;
mod detached;
mod formatting;
mod full_disk;
mod hostile;
mod interop;
mod interrupted;
mod keyslots;
mod looking;
mod mappings;
mod passphrases;
mod place;
mod refusals;
mod tokens;
mod two_copies;
