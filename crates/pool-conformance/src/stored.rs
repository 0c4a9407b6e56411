use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::Path;

use strongroom_storage_pool::{Attachment, Encryption};
use strongroom_types::VolumeId;

use crate::bench::Bench;
use crate::expect::done;
use crate::failure::{Checked, Stop};

/// What is read of a volume at most: header and content, and not all of a device that is rounded up.
const MOST: u64 = 32 << 20;

impl Bench {
    /// The names of all that is in the storage; `None` when the site cannot tell.
    pub(crate) fn listing(&self) -> Checked<Option<BTreeSet<String>>> {
        let listed = self.site.listing.as_ref().map(|list| list()).transpose();
        listed.map_err(|e| Stop::NotTested(format!("the storage cannot be listed: {e}")))
    }

    /// The bytes of a volume as somebody who steals the storage has them.
    pub(crate) fn stored(&self, volume: &VolumeId) -> Checked<Vec<u8>> {
        if self.site.stored.is_none() && self.capabilities.encryption == Encryption::InStorage {
            let why = "the host sees plain content of a pool that encrypts in the storage; give the site a look into that";
            return Err(Stop::NotTested(why.to_owned()));
        }
        let at = done("attach", self.driver.attach(&self.cx(), volume, &self.host))?;
        let most = MOST.saturating_add(self.site.size.saturating_mul(2));
        let read = match &self.site.stored {
            Some(read) => read(volume, &at),
            None => from_here(&at, most),
        };
        done("detach", self.driver.detach(&self.cx(), volume, &self.host))?;
        read.map_err(|e| Stop::NotTested(format!("the bytes in the storage cannot be read: {e}")))
    }
}

/// The bytes of a file or device of this machine, where ciphertext is in it.
fn from_here(at: &Attachment, most: u64) -> io::Result<Vec<u8>> {
    let path: &Path = at.location.path();
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
