use rusqlite::{Connection, Row};
use strongroom_types::{DiskFormat, OfferingId};

use crate::row::{Failure, RowName, is_constraint};
use crate::{ControlPlane, ControlPlaneError};

/// A disk offering that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewOffering {
    /// Its name.
    pub id: OfferingId,
    /// Whether its volumes are encrypted.
    pub encrypt: bool,
    /// How its volumes lie on disk.
    pub format: DiskFormat,
    /// A sentence for listings; empty at first.
    pub description: String,
}

impl NewOffering {
    /// An offering without a description.
    #[must_use]
    pub fn new(id: OfferingId, encrypt: bool, format: DiskFormat) -> Self {
        Self {
            id,
            encrypt,
            format,
            description: String::new(),
        }
    }
}

/// A disk offering: what users may ask for. It never changes, so that what a volume is follows from it for good.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OfferingRecord {
    /// Its name.
    pub id: OfferingId,
    /// Whether its volumes are encrypted.
    pub encrypt: bool,
    /// How its volumes lie on disk.
    pub format: DiskFormat,
    /// A sentence for listings.
    pub description: String,
}

/// Which offerings are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfferingFilter {
    encrypting: Option<bool>,
}

impl OfferingFilter {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those that encrypt, or only those that do not.
    #[must_use]
    pub fn encrypting(yes: bool) -> Self {
        Self {
            encrypting: Some(yes),
        }
    }
}

type Stored = (String, bool, String, String);

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn record((id, encrypt, format, description): Stored) -> Result<OfferingRecord, Failure> {
    let row = RowName {
        table: "offerings",
        id: &id,
    };
    Ok(OfferingRecord {
        encrypt,
        format: row.parse("format", &format)?,
        description,
        id: row.parse("id", &id)?,
    })
}

/// The offering of this id.
pub(crate) fn get(connection: &Connection, id: &OfferingId) -> Result<OfferingRecord, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT id, encrypt, format, description FROM offerings WHERE id = ?1")?;
    let mut rows = statement.query([id.as_str()])?;
    match rows.next()? {
        Some(row) => record(stored(row)?),
        None => Err(ControlPlaneError::Unknown {
            what: "offering",
            id: id.to_string(),
        }
        .into()),
    }
}

impl ControlPlane {
    /// Makes an offering.
    ///
    /// # Errors
    /// [`ControlPlaneError::Taken`] when there is one of that id; it stays as it is.
    pub fn create_offering(&self, new: &NewOffering) -> Result<OfferingRecord, ControlPlaneError> {
        tracing::debug!(offering = %new.id, encrypt = new.encrypt, format = %new.format, "make an offering");
        self.transact("record an offering", |transaction| {
            let row = (
                new.id.as_str(),
                new.encrypt,
                new.format.as_str(),
                &new.description,
            );
            match transaction.execute("INSERT INTO offerings VALUES (?1, ?2, ?3, ?4)", row) {
                Err(e) if is_constraint(&e) => Err(ControlPlaneError::Taken {
                    what: "offering",
                    id: new.id.to_string(),
                }
                .into()),
                Err(e) => Err(e.into()),
                Ok(_) => get(transaction, &new.id),
            }
        })
    }

    /// The offerings that pass the filter, by id.
    ///
    /// # Errors
    /// [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn offerings(&self, filter: OfferingFilter) -> Result<Vec<OfferingRecord>, ControlPlaneError> {
        self.read("list offerings", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, encrypt, format, description FROM offerings WHERE ?1 IS NULL OR encrypt = ?1 ORDER BY id",
            )?;
            let rows: Vec<_> = statement
                .query_map([filter.encrypting], stored)?
                .collect::<rusqlite::Result<_>>()?;
            rows.into_iter().map(record).collect()
        })
    }
}
