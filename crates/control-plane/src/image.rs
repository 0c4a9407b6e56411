//! Images from outside: what a host says of them before anything is made from them.

use std::path::Path;

use strongroom_endpoint_selector::{
    ContentDigest, DiskFacts, DiskLocation, Endpoint, FileStamp, HostAnswer, InspectDisk, Protection,
};
use strongroom_storage_pool::Disk;
use strongroom_types::{Call, DiskFormat};

use crate::ControlPlaneError;
use crate::digest::digest_of;
use crate::host_work::{odd_answer, run};

/// A plain image, which somebody untrusted may have made, and the host that looks at it.
pub(crate) struct Image<'a> {
    pub(crate) endpoint: &'a dyn Endpoint,
    pub(crate) call: &'a Call,
    pub(crate) action: &'a str,
    pub(crate) path: &'a Path,
    pub(crate) format: DiskFormat,
}

impl Image<'_> {
    /// What it is, by the reader that trusts nothing.
    pub(crate) fn look(&self) -> Result<DiskFacts, ControlPlaneError> {
        let location = DiskLocation::file(self.path);
        let look = InspectDisk::new(&location, self.format, None);
        match run(self.endpoint, self.call, self.action, &look.into())? {
            HostAnswer::Disk(facts) => Ok(facts),
            _ => Err(odd_answer(self.endpoint, self.action)),
        }
    }

    /// The digest of its content, which was that of the file with the stamp. A file that is changed while it is read is refused.
    pub(crate) fn digest(&self, stamp: Option<FileStamp>) -> Result<ContentDigest, ControlPlaneError> {
        let location = DiskLocation::file(self.path);
        let disk = Disk::new(&location, self.format, Protection::Plain);
        let digest = digest_of(self.endpoint, self.call, self.action, disk, None)?;
        if let (Some(before), Some(now)) = (stamp, self.look()?.stamp)
            && let Some(change) = now.since(&before)
        {
            return Err(ControlPlaneError::Changing {
                path: self.path.to_owned(),
                change,
            });
        }
        Ok(digest)
    }
}

/// Refuses an image that is said to be raw and begins as another format does, unless that is meant.
pub(crate) fn refuse_claims(path: &Path, facts: &DiskFacts, opaque: bool) -> Result<(), ControlPlaneError> {
    match facts.claims {
        Some(claims) if !opaque => Err(ControlPlaneError::Claims {
            path: path.to_owned(),
            claims,
        }),
        _ => Ok(()),
    }
}
