//! The control plane over a file pool on a host in memory, and over pools in memory.

mod crash;
mod erase;
mod fault;
mod fragile;
mod life;
mod placement;
mod record;
mod recovery;
mod refusal;
mod site;
