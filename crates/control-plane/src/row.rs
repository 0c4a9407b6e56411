//! From rows to values: what a row says is checked, and an error names the row.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::ErrorCode;
use strongroom_passphrase_store::StoreError;

use crate::ControlPlaneError;

/// Why work with the database failed: its own errors still lack the word for what was to be done.
pub(crate) enum Failure {
    Sql(rusqlite::Error),
    Own(ControlPlaneError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Own(ControlPlaneError::Store(error))
    }
}

impl From<ControlPlaneError> for Failure {
    fn from(error: ControlPlaneError) -> Self {
        Self::Own(error)
    }
}

impl Failure {
    /// The error with what was to be done.
    pub(crate) fn to(self, action: &'static str) -> ControlPlaneError {
        match self {
            Self::Own(error) => error,
            Self::Sql(source) => ControlPlaneError::Store(StoreError::from_sqlite(action, source)),
        }
    }
}

/// Whether a row was refused because it is there already or refers to nothing.
pub(crate) fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// Names a row in errors.
#[derive(Clone, Copy)]
pub(crate) struct RowName<'a> {
    pub(crate) table: &'static str,
    pub(crate) id: &'a str,
}

impl RowName<'_> {
    pub(crate) fn damaged(self, problem: impl Display) -> ControlPlaneError {
        ControlPlaneError::DamagedRow {
            table: self.table,
            id: self.id.to_owned(),
            problem: problem.to_string(),
        }
    }

    /// A text column as what it stands for.
    pub(crate) fn parse<T>(self, column: &str, text: &str) -> Result<T, ControlPlaneError>
    where
        T: FromStr,
        T::Err: Display,
    {
        text.parse().map_err(|e| self.damaged(format!("{column}: {e}")))
    }

    /// A number column as a size.
    pub(crate) fn size<T>(self, column: &str, bytes: i64) -> Result<T, ControlPlaneError>
    where
        T: TryFrom<u64>,
        T::Error: Display,
    {
        let bytes = u64::try_from(bytes).map_err(|e| self.damaged(format!("{column}: {e}")))?;
        T::try_from(bytes).map_err(|e| self.damaged(format!("{column}: {e}")))
    }

    /// A JSON column as what it stands for.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        self,
        column: &str,
        text: &str,
    ) -> Result<T, ControlPlaneError> {
        serde_json::from_str(text).map_err(|e| self.damaged(format!("{column}: {e}")))
    }
}

/// A size as SQLite keeps it. A disk size fits: it is at most 2^63 - 512.
pub(crate) fn stored(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
