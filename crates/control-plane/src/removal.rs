//! Taking pools and offerings out of the records.

use rusqlite::{Connection, Transaction};
use strongroom_types::{Call, OfferingId, PoolId, TemplateId, VolumeId};

use crate::row::{Failure, RowName};
use crate::{ControlPlane, ControlPlaneError, offering, pool, template_table};

/// The ids that a question about one id has as its answer.
fn ids<T>(connection: &Connection, sql: &str, table: &'static str, of: &str) -> Result<Vec<T>, Failure>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    let mut statement = connection.prepare_cached(sql)?;
    let found: Vec<String> = statement
        .query_map([of], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let row = RowName { table, id: of };
    found.iter().map(|id| Ok(row.parse("id", id)?)).collect()
}

fn refuse_in_use(
    transaction: &Transaction<'_>,
    what: &'static str,
    sql: &str,
    id: &str,
) -> Result<(), Failure> {
    let volumes: Vec<VolumeId> = ids(transaction, sql, "volumes", id)?;
    if volumes.is_empty() {
        return Ok(());
    }
    Err(ControlPlaneError::InUse {
        what,
        id: id.to_owned(),
        volumes,
    }
    .into())
}

impl ControlPlane {
    /// Removes a pool that has no volumes, with the copies of templates in it. Its storage stays as it is otherwise, and marked as this
    /// installation's: the pool can be added again.
    ///
    /// With `keep_copies`, the storage is not asked for anything: the way for a pool whose storage is gone for good.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`InUse`](ControlPlaneError::InUse) while volumes are there or being made or removed,
    /// [`Pool`](ControlPlaneError::Pool) when a copy of a template cannot be removed; the pool then stays.
    pub fn remove_pool(&self, call: &Call, id: &PoolId, keep_copies: bool) -> Result<(), ControlPlaneError> {
        const VOLUMES: &str = "SELECT id FROM volumes WHERE pool = ?1 ORDER BY id";
        tracing::debug!(pool = %id, keep_copies, "remove a pool");
        let templates: Vec<TemplateId> = self.transact("look for what a pool has", |transaction| {
            pool::get(transaction, id)?;
            refuse_in_use(transaction, "pool", VOLUMES, id.as_str())?;
            let copies = "SELECT template FROM template_copies WHERE pool = ?1 ORDER BY template";
            ids(transaction, copies, "template_copies", id.as_str())
        })?;
        for template in templates {
            if !keep_copies {
                self.driver(id)?
                    .forget_template(&self.context(call), &template)
                    .map_err(pool::failed(id, format!("forget template {template}")))?;
            }
            self.transact("record that a copy of a template is gone", |transaction| {
                template_table::remove_copy(transaction, &template, id)
            })?;
        }
        self.transact("forget a pool", |transaction| {
            // What was begun meanwhile keeps the pool.
            refuse_in_use(transaction, "pool", VOLUMES, id.as_str())?;
            transaction.execute("DELETE FROM template_copies WHERE pool = ?1", [id.as_str()])?;
            transaction.execute("DELETE FROM pools WHERE id = ?1", [id.as_str()])?;
            Ok(())
        })?;
        self.open_pools.forget(id);
        Ok(())
    }

    /// Removes an offering of which there are no volumes.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`InUse`](ControlPlaneError::InUse).
    pub fn remove_offering(&self, id: &OfferingId) -> Result<(), ControlPlaneError> {
        tracing::debug!(offering = %id, "remove an offering");
        self.transact("remove an offering", |transaction| {
            offering::get(transaction, id)?;
            let volumes = "SELECT id FROM volumes WHERE offering = ?1 ORDER BY id";
            refuse_in_use(transaction, "offering", volumes, id.as_str())?;
            transaction.execute("DELETE FROM offerings WHERE id = ?1", [id.as_str()])?;
            Ok(())
        })
    }
}
