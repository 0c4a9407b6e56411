//! The suite on drivers that keep every promise, and on one faulty driver for each check.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its input has failed")]

mod cleaning;
mod endpoint;
mod faulty;
mod lying_guest;
mod mutant;
mod mutants_of_content;
mod mutants_of_faults;
mod mutants_of_pools;
mod mutants_of_snapshots;
mod mutants_of_volumes;
mod on_host;
mod report;
mod site;
mod sound;
mod table;
mod unfinished;
mod widened;
