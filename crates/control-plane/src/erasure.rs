use crate::row::{Failure, RowName};

/// What a delete destroyed, and what it did not.
///
/// It is kept with the job, so that the answer of a delete that a later process finishes says what the earlier one did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Erasure {
    /// Each thing, in the order in which it was destroyed, such as "keyslots overwritten".
    pub destroyed: Vec<String>,
    /// What was not destroyed, and why: what could not be, what was not there, and what was not proved to be the volume's. The
    /// sealed key is gone all the same.
    pub left: Vec<String>,
    /// What was made of the volume on purpose and lives on: exported copies, and clones that share its key.
    pub lives_on: Vec<String>,
    /// The disk in the volume's place opens with another key than the volume's: it is not the volume's to remove.
    pub(crate) stranger: bool,
}

impl Erasure {
    pub(crate) fn is_empty(&self) -> bool {
        self.destroyed.is_empty() && self.left.is_empty() && !self.stranger
    }

    /// Notes what was destroyed, once.
    pub(crate) fn note_destroyed(&mut self, what: impl Into<String>) {
        note(&mut self.destroyed, what.into());
    }

    /// Notes what was not destroyed, once.
    pub(crate) fn note_left(&mut self, what: impl Into<String>) {
        note(&mut self.left, what.into());
    }

    /// As it is stored.
    pub(crate) fn to_column(&self, row: RowName<'_>) -> Result<Option<String>, Failure> {
        if self.is_empty() {
            return Ok(None);
        }
        let text = serde_json::to_string(&(&self.destroyed, &self.left, self.stranger))
            .map_err(|e| row.damaged(e))?;
        Ok(Some(text))
    }

    /// From what is stored.
    pub(crate) fn from_column(row: RowName<'_>, column: Option<&str>) -> Result<Self, Failure> {
        let Some(text) = column else {
            return Ok(Self::default());
        };
        let (destroyed, left, stranger) = row.json("erasure", text)?;
        Ok(Self {
            destroyed,
            left,
            stranger,
            lives_on: Vec::new(),
        })
    }
}

/// A step that is done again after a kill says the same again.
fn note(lines: &mut Vec<String>, line: String) {
    if !lines.contains(&line) {
        lines.push(line);
    }
}
