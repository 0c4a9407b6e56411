use std::fmt;

use strongroom_types::VolumeId;

/// A call that a [`MemoryPool`](super::MemoryPool) got. It prints as `create vol-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolCall {
    /// The name of the method.
    pub operation: &'static str,
    /// The volume, where the call is about one.
    pub volume: Option<VolumeId>,
}

impl fmt::Display for PoolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation)?;
        match &self.volume {
            Some(volume) => write!(f, " {volume}"),
            None => Ok(()),
        }
    }
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing is done yet.
    Before,
    /// Everything is done, and only the answer is missing.
    After,
}
