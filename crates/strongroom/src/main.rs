//! Strongroom on this machine.
fn main() {}
