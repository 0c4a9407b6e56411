//! To which hosts volumes are attached.

use std::sync::Arc;

use rusqlite::{Connection, Transaction};
use strongroom_storage_pool::PoolDriver;
use strongroom_types::{Call, HostId, VolumeId};

use crate::row::{Failure, RowName};
use crate::{ControlPlane, ControlPlaneError, VolumeRecord, pool};

pub(crate) fn insert(transaction: &Transaction<'_>, volume: &VolumeId, host: &HostId) -> Result<(), Failure> {
    transaction.execute(
        "INSERT INTO attachments (volume, host) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        (volume.as_str(), host.as_str()),
    )?;
    Ok(())
}

/// Every recorded attachment, by volume and host.
pub(crate) fn list(connection: &Connection) -> Result<Vec<(VolumeId, HostId)>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT volume, host FROM attachments ORDER BY volume, host")?;
    let rows: Vec<(String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    rows.iter()
        .map(|(volume, host)| {
            let row = RowName {
                table: "attachments",
                id: volume,
            };
            Ok((row.parse("volume", volume)?, row.parse("host", host)?))
        })
        .collect()
}

/// The attachments of these volumes.
pub(crate) fn of(connection: &Connection, volumes: &[&VolumeId]) -> Result<Vec<(VolumeId, HostId)>, Failure> {
    let mut attachments = list(connection)?;
    attachments.retain(|(volume, _)| volumes.contains(&volume));
    Ok(attachments)
}

impl ControlPlane {
    /// Ends one attachment and forgets it.
    pub(crate) fn detach(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        record: &VolumeRecord,
        host: &HostId,
    ) -> Result<(), ControlPlaneError> {
        driver
            .detach(&self.context(call), &record.disk, host)
            .map_err(pool::failed(
                &record.pool,
                format!("detach volume {} from host {host}", record.id),
            ))?;
        self.transact("forget an attachment", |transaction| {
            transaction.execute(
                "DELETE FROM attachments WHERE volume = ?1 AND host = ?2",
                (record.id.as_str(), host.as_str()),
            )?;
            Ok(())
        })
    }

    /// The driver of a volume that nobody has open: attachments that could not be ended earlier are ended first.
    pub(crate) fn driver_of(
        &self,
        call: &Call,
        record: &VolumeRecord,
    ) -> Result<Arc<dyn PoolDriver>, ControlPlaneError> {
        let driver = self.driver(&record.pool)?;
        for (volume, host) in self.read("list attachments", list)? {
            if volume == record.id {
                self.detach(call, driver.as_ref(), record, &host)?;
            }
        }
        Ok(driver)
    }
}
