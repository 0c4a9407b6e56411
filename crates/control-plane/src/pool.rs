use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Row};
use strongroom_storage_pool::{Capabilities, PoolDriver, PoolError, PoolUsage};
use strongroom_types::{Call, InstallationId, PoolId};

use crate::driver_guard::{self, GuardedDriver};
use crate::row::{Failure, RowName, is_constraint};
use crate::{ControlPlane, ControlPlaneError};

/// Finds the driver of a pool: where a program says which drivers it has.
pub trait PoolDrivers: Send + Sync + fmt::Debug {
    /// The driver that serves this pool, by its kind and settings. It is asked for once for every pool that is used, and kept:
    /// what a driver remembers of its pool holds as long as the control plane. After an error it is asked for again, and so it is after the
    /// driver panicked, because what it remembers may be broken.
    ///
    /// # Errors
    /// [`PoolError`] when there is no driver for the kind, or the settings make no sense.
    fn driver(&self, pool: &PoolRecord) -> Result<Arc<dyn PoolDriver>, PoolError>;
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<D: PoolDrivers + ?Sized> PoolDrivers for $pointer {
            fn driver(&self, pool: &PoolRecord) -> Result<Arc<dyn PoolDriver>, PoolError> {
                (**self).driver(pool)
            }
        }
    )+};
}
forward!(&D, Box<D>, Arc<D>);

/// The drivers that were asked for so far.
#[derive(Debug, Default)]
pub(crate) struct OpenPools(Mutex<BTreeMap<PoolId, Arc<GuardedDriver>>>);

impl OpenPools {
    /// The driver of a pool that is no more.
    pub(crate) fn forget(&self, pool: &PoolId) {
        self.map().remove(pool);
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<PoolId, Arc<GuardedDriver>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pool that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewPool {
    /// Its name.
    pub id: PoolId,
    /// Which driver serves it; the word is the program's.
    pub kind: String,
    /// What the driver needs to know. The database keeps it in clear: no secrets here.
    pub settings: BTreeMap<String, String>,
}

impl NewPool {
    /// A pool with all there is to know of it.
    #[must_use]
    pub fn new(
        id: PoolId,
        kind: impl Into<String>,
        settings: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self {
            id,
            kind: kind.into(),
            settings: settings.into_iter().collect(),
        }
    }
}

/// A pool: where volumes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolRecord {
    /// Its name.
    pub id: PoolId,
    /// Which driver serves it.
    pub kind: String,
    /// What the driver needs to know.
    pub settings: BTreeMap<String, String>,
    /// The installation whose pool it is: that of the database, made up once. Two installations may have a pool of one name.
    pub installation: InstallationId,
}

/// With a condition or an order behind it.
const SELECT: &str = "SELECT id, kind, settings, (SELECT id FROM installation) FROM pools";

type Stored = (String, String, String, String);

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn record((id, kind, settings, installation): Stored) -> Result<PoolRecord, Failure> {
    let row = RowName {
        table: "pools",
        id: &id,
    };
    Ok(PoolRecord {
        kind,
        settings: row.json("settings", &settings)?,
        installation: row.parse("installation", &installation)?,
        id: row.parse("id", &id)?,
    })
}

fn unknown(id: &PoolId) -> ControlPlaneError {
    ControlPlaneError::Unknown {
        what: "pool",
        id: id.to_string(),
    }
}

pub(crate) fn get(connection: &Connection, id: &PoolId) -> Result<PoolRecord, Failure> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    match rows.next()? {
        Some(row) => record(stored(row)?),
        None => Err(unknown(id).into()),
    }
}

/// A failure of a pool's driver, with what was to be done.
pub(crate) fn failed(
    pool: &PoolId,
    action: impl Into<String>,
) -> impl FnOnce(PoolError) -> ControlPlaneError {
    let (pool, action) = (pool.clone(), action.into());
    move |source| ControlPlaneError::Pool { pool, action, source }
}

impl ControlPlane {
    /// Adds a pool after its driver has opened and [prepared](PoolDriver::prepare) it and said how full it is.
    ///
    /// # Errors
    /// [`ControlPlaneError::Taken`], [`ControlPlaneError::Pool`] when the pool cannot be used; then it is not added.
    pub fn add_pool(&self, call: &Call, new: &NewPool) -> Result<PoolRecord, ControlPlaneError> {
        tracing::debug!(pool = %new.id, kind = %new.kind, "add a pool");
        let taken = || ControlPlaneError::Taken {
            what: "pool",
            id: new.id.to_string(),
        };
        let record = PoolRecord {
            id: new.id.clone(),
            kind: new.kind.clone(),
            settings: new.settings.clone(),
            installation: self.installation()?,
        };
        if self.pools()?.iter().any(|p| p.id == new.id) {
            return Err(taken());
        }
        let driver = self.new_driver(&record)?;
        driver
            .prepare(&self.context(call))
            .map_err(failed(&new.id, "be prepared"))?;
        driver
            .usage(&self.context(call))
            .map_err(failed(&new.id, "be used"))?;
        let name = RowName {
            table: "pools",
            id: new.id.as_str(),
        };
        let settings = serde_json::to_string(&new.settings).map_err(|e| name.damaged(e))?;
        self.transact("record a pool", |transaction| {
            let row = (new.id.as_str(), &new.kind, settings);
            match transaction.execute(
                "INSERT INTO pools (id, kind, settings, prepared) VALUES (?1, ?2, ?3, 1)",
                row,
            ) {
                Err(e) if is_constraint(&e) => Err(taken().into()),
                done => done.map(drop).map_err(Failure::from),
            }
        })?;
        self.open_pools.map().insert(record.id.clone(), driver);
        Ok(record)
    }

    /// The name of this installation, by which its pools are told from those of others. It was made up with the database.
    ///
    /// # Errors
    /// [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn installation(&self) -> Result<InstallationId, ControlPlaneError> {
        self.read("read the name of the installation", |connection| {
            let id: String = connection.query_row("SELECT id FROM installation", [], |row| row.get(0))?;
            let row = RowName {
                table: "installation",
                id: &id,
            };
            Ok(row.parse("id", &id)?)
        })
    }

    /// Every pool, by id.
    ///
    /// # Errors
    /// [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn pools(&self) -> Result<Vec<PoolRecord>, ControlPlaneError> {
        self.read("list pools", |connection| {
            let mut statement = connection.prepare_cached(&format!("{SELECT} ORDER BY id"))?;
            let rows: Vec<_> = statement
                .query_map([], stored)?
                .collect::<rusqlite::Result<_>>()?;
            rows.into_iter().map(record).collect()
        })
    }

    /// What a pool can do.
    ///
    /// # Errors
    /// [`ControlPlaneError::Unknown`], [`ControlPlaneError::Pool`] when its driver cannot open it.
    pub fn pool_capabilities(&self, id: &PoolId) -> Result<Capabilities, ControlPlaneError> {
        Ok(self.driver(id)?.capabilities())
    }

    /// How full a pool is.
    ///
    /// # Errors
    /// [`ControlPlaneError::Unknown`], [`ControlPlaneError::Pool`].
    pub fn pool_usage(&self, call: &Call, id: &PoolId) -> Result<PoolUsage, ControlPlaneError> {
        self.driver(id)?
            .usage(&self.context(call))
            .map_err(failed(id, "say how full it is"))
    }

    /// The driver of a pool that is recorded.
    pub(crate) fn driver(&self, id: &PoolId) -> Result<Arc<dyn PoolDriver>, ControlPlaneError> {
        let record = self.read("read a pool", |connection| get(connection, id))?;
        self.open_pool(&record)
    }

    pub(crate) fn open_pool(&self, record: &PoolRecord) -> Result<Arc<dyn PoolDriver>, ControlPlaneError> {
        if let Some(driver) = self.open_pools.map().get(&record.id)
            && !driver.has_panicked()
        {
            return Ok(driver.clone());
        }
        let opened = self.new_driver(record)?;
        let mut open = self.open_pools.map();
        // Somebody else may have been faster; then there is one driver all the same.
        let driver = open.entry(record.id.clone()).or_insert_with(|| opened.clone());
        if driver.has_panicked() {
            *driver = opened;
        }
        Ok(driver.clone())
    }

    fn new_driver(&self, record: &PoolRecord) -> Result<Arc<GuardedDriver>, ControlPlaneError> {
        driver_guard::catch("open", || self.drivers.driver(record))
            .and_then(|driver| GuardedDriver::new(driver, &record.id))
            .map(Arc::new)
            .map_err(failed(&record.id, "be opened"))
    }

    /// Prepares the pools that an earlier version of this program added, before pools were prepared. One that cannot be prepared now
    /// is tried again at the next start.
    pub(crate) fn prepare_old_pools(&self, call: &Call) -> Result<(), ControlPlaneError> {
        let old = self.read("list pools that are not prepared", |connection| {
            let mut statement = connection.prepare_cached(&format!("{SELECT} WHERE prepared = 0"))?;
            let rows: Vec<_> = statement
                .query_map([], stored)?
                .collect::<rusqlite::Result<_>>()?;
            rows.into_iter().map(record).collect::<Result<Vec<_>, _>>()
        })?;
        for pool in old {
            let prepared = self.open_pool(&pool).and_then(|driver| {
                driver
                    .prepare(&self.context(call))
                    .map_err(failed(&pool.id, "be prepared"))
            });
            match prepared {
                Ok(()) => self.transact("record that a pool is prepared", |transaction| {
                    transaction.execute("UPDATE pools SET prepared = 1 WHERE id = ?1", [pool.id.as_str()])?;
                    Ok(())
                })?,
                Err(error) => {
                    tracing::warn!(pool = %pool.id, error = %error.chain(), "not prepared; the next start tries again");
                }
            }
        }
        Ok(())
    }
}
