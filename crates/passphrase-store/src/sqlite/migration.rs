use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::StoreError;

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_versions (component TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT";

/// Brings the tables of one component up to date: runs the steps that the database has not had, each in a transaction of its
/// own. The version of a component is the number of steps that it has had; steps are only ever added.
///
/// # Errors
/// [`StoreError::Newer`] when the database has had more steps than these; [`StoreError::Database`].
pub fn migrate(connection: &mut Connection, component: &str, steps: &[&str]) -> Result<(), StoreError> {
    let failed = |source| super::store::failed("update its tables", source);
    connection.execute_batch(VERSIONS).map_err(failed)?;
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    loop {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let found: u32 = transaction
            .query_row(
                "SELECT version FROM schema_versions WHERE component = ?1",
                [component],
                |row| row.get(0),
            )
            .optional()
            .map_err(failed)?
            .unwrap_or(0);
        if found > known {
            return Err(StoreError::Newer {
                component: component.to_owned(),
                found,
                known,
            });
        }
        let Some(step) = steps.get(found as usize) else {
            return Ok(());
        };
        transaction.execute_batch(step).map_err(failed)?;
        transaction
            .execute(
                "INSERT INTO schema_versions VALUES (?1, ?2) ON CONFLICT (component) DO UPDATE SET version = ?2",
                (component, found + 1),
            )
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
}
