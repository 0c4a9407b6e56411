//! Agents and control planes that talk over the loopback interface.
#![cfg(test)]

mod agent;
mod certificates;
mod conformance;
mod forged;
mod heartbeat;
mod hostile;
mod limits;
mod lost;
mod many;
mod rig;
mod secrecy;
mod stranger;
mod wire;
