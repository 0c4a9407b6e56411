//! The store in SQLite, and a database that other tables share with it, so that their foreign keys are real.

mod database;
mod database_file;
mod migration;
mod store;

pub use database::Database;
pub use migration::migrate;
pub use store::{InTransaction, SqliteStore};
