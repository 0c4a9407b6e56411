//! Agents and control planes that talk over the loopback interface.
#![cfg(test)]

mod agent;
mod certificates;
mod hostile;
mod lost;
mod many;
mod rig;
mod secrecy;
mod stranger;
