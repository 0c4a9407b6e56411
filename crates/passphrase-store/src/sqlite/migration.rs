use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::StoreError;

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_versions (component TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT";

/// The version of a component in the database; 0 when it was never there.
fn version(connection: &Connection, component: &str) -> rusqlite::Result<u32> {
    let kept: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_versions')",
        [],
        |row| row.get(0),
    )?;
    if !kept {
        return Ok(0);
    }
    connection
        .query_row(
            "SELECT version FROM schema_versions WHERE component = ?1",
            [component],
            |row| row.get(0),
        )
        .optional()
        .map(|found| found.unwrap_or(0))
}

/// Refuses a database that has had more steps than these, before anything is changed in it.
pub(super) fn refuse_newer(connection: &Connection, component: &str, known: usize) -> Result<(), StoreError> {
    let known = u32::try_from(known).unwrap_or(u32::MAX);
    let found = version(connection, component).map_err(|e| StoreError::from_sqlite("read its version", e))?;
    if found > known {
        return Err(StoreError::Newer {
            component: component.to_owned(),
            found,
            known,
        });
    }
    Ok(())
}

/// Brings the tables of one component up to date: runs the steps that the database has not had, each in a transaction of its
/// own. The version of a component is the number of steps that it has had; steps are only ever added.
///
/// # Errors
/// [`StoreError::Newer`] when the database has had more steps than these; [`StoreError::Database`].
pub fn migrate(connection: &mut Connection, component: &str, steps: &[&str]) -> Result<(), StoreError> {
    let failed = |source| StoreError::from_sqlite("update its tables", source);
    refuse_newer(connection, component, steps.len())?;
    loop {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        transaction.execute_batch(VERSIONS).map_err(failed)?;
        // Read again, because another process may have come first.
        refuse_newer(&transaction, component, steps.len())?;
        let found = version(&transaction, component).map_err(failed)?;
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
