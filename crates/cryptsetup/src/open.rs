/// How a volume is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct OpenOptions {
    pub(crate) access: Access,
    pub(crate) discards: Discards,
}

/// What may be done with an open volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Access {
    /// Reading and writing.
    #[default]
    ReadWrite,
    /// Reading only.
    ReadOnly,
}

/// What happens to the blocks that a guest says it no longer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Discards {
    /// Nothing. The storage does not learn which blocks are in use.
    #[default]
    Refused,
    /// The storage gets them back, and whoever sees it learns which blocks are in use, and what file system
    /// it may be.
    Allowed,
}

impl OpenOptions {
    /// Reading and writing, discards refused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with this access.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// The same with this answer to discards.
    #[must_use]
    pub fn discards(mut self, discards: Discards) -> Self {
        self.discards = discards;
        self
    }
}
