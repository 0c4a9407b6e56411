use std::fmt;
use std::sync::Arc;

use rusqlite::{Connection, Transaction};
use strongroom_endpoint_selector::EndpointSelector;
use strongroom_passphrase_store::KeyEncryptionKey;
use strongroom_passphrase_store::sqlite::{Database, SqliteStore, migrate};
use strongroom_storage_pool::OpContext;
use strongroom_types::{Call, VmId, VolumeId};

use crate::claim::Claims;
use crate::pool::OpenPools;
use crate::row::Failure;
use crate::schema::{COMPONENT, STEPS};
use crate::{ControlPlaneError, PoolDrivers};

/// Offerings, hosts, pools, volumes and virtual machines in one database, and the work on volumes and virtual machines.
///
/// It may be used from several threads: work on different volumes runs side by side, and a second piece of work on one volume
/// is refused as [`Busy`](ControlPlaneError::Busy), on one virtual machine as [`VmError::Busy`](crate::VmError::Busy). The database is locked for the length of a read or a transaction only,
/// never while a pool, a host or a key-encryption key works.
///
/// Work on a volume or virtual machine writes a job into the database before it begins and takes it out in the transaction that records the
/// result. A process that dies in between leaves the job; [`recover`](Self::recover) finishes or undoes it.
///
/// Required: one control plane at a time works on a database. [`recover`](Self::recover) is called after opening, before any
/// other work.
pub struct ControlPlane {
    pub(crate) store: SqliteStore,
    pub(crate) kek: Arc<dyn KeyEncryptionKey>,
    pub(crate) drivers: Arc<dyn PoolDrivers>,
    pub(crate) open_pools: OpenPools,
    pub(crate) endpoints: Arc<dyn EndpointSelector>,
    pub(crate) claims: Claims<VolumeId>,
    pub(crate) vm_claims: Claims<VmId>,
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane")
            .field("kek", self.kek.id())
            .field("drivers", &self.drivers)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Brings the tables of the control plane in this database up to date, and works on it from then on: with keys that are
    /// sealed by `kek`, pools that are served by `drivers`, and hosts that `endpoints` finds.
    ///
    /// # Errors
    /// [`ControlPlaneError::Store`], also when the tables are of a newer version, which are then left as they are.
    pub fn open(
        mut database: Database,
        kek: Arc<dyn KeyEncryptionKey>,
        drivers: Arc<dyn PoolDrivers>,
        endpoints: Arc<dyn EndpointSelector>,
    ) -> Result<Self, ControlPlaneError> {
        migrate(database.connection_mut(), COMPONENT, &STEPS).map_err(ControlPlaneError::Store)?;
        Ok(Self {
            store: SqliteStore::new(database),
            kek,
            drivers,
            open_pools: OpenPools::default(),
            endpoints,
            claims: Claims::default(),
            vm_claims: Claims::default(),
        })
    }

    /// Reads from the database.
    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, ControlPlaneError> {
        work(self.store.database().connection()).map_err(|e| e.to(action))
    }

    /// Does all of the work in the database, or none of it.
    pub(crate) fn transact<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, ControlPlaneError> {
        let mut database = self.store.database();
        let run = || {
            let transaction = database.transaction()?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        run().map_err(|e: Failure| e.to(action))
    }

    /// What a driver is given.
    pub(crate) fn context<'a>(&'a self, call: &'a Call) -> OpContext<'a> {
        OpContext::new(call, self.endpoints.as_ref())
    }
}
