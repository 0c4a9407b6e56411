use std::fmt;
use std::path::PathBuf;

use strongroom_endpoint_selector::{
    Disk, DiskFacts, DiskLocation, Endpoint, ErrorKind, HostAnswer, InspectDisk, Protection, SourceImage,
};
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{Template, VolumeContent};
use strongroom_types::{
    Call, Capability, DiskFormat, EncryptionFormat, GuestSize, OfferingId, PoolId, VolumeId,
};

use crate::content::absolute;
use crate::digest::{digest_of, same};
use crate::host_work::{capability, odd_answer, run};
use crate::image::refuse_claims;
use crate::job::Work;
use crate::making::{Plan, new_disk};
use crate::placement::{Candidate, Filling, Wish};
use crate::{ControlPlane, ControlPlaneError, OfferingRecord, VolumeRecord, volume_table};

/// An image file that is to become a volume. Somebody untrusted may have made it.
#[non_exhaustive]
pub struct NewImport<'a> {
    /// The offering of the volume, which says whether it is encrypted and how it lies on disk.
    pub offering: OfferingId,
    /// The absolute path of the image, on the host that does the work.
    pub path: PathBuf,
    /// The image's format. It is said, never probed.
    pub format: DiskFormat,
    /// What opens the image; `None` for a plain one. It is used for the import only and is not kept.
    pub key: Option<&'a Passphrase>,
    /// What the volume's guest is to see; without it, what the image's guest sees.
    pub guest: Option<GuestSize>,
    /// The volume's id; without one it gets a random one.
    pub id: Option<VolumeId>,
    /// Its pool; without one it goes to the pool with the most free space that can have it.
    pub pool: Option<PoolId>,
    /// Read the image and the volume once more and compare their digests.
    pub check_digest: bool,
    /// A raw image that begins as another format does is meant as it is: its guest reads that file itself.
    pub opaque: bool,
}

impl fmt::Debug for NewImport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewImport")
            .field("path", &self.path)
            .field("encrypted", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

impl NewImport<'_> {
    /// A plain image that becomes a volume of its size with a random id, in whichever pool.
    #[must_use]
    pub fn new(offering: OfferingId, path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self {
            offering,
            path: path.into(),
            format,
            key: None,
            guest: None,
            id: None,
            pool: None,
            check_digest: false,
            opaque: false,
        }
    }

    fn protection(&self, luks: Option<EncryptionFormat>) -> Protection<'_> {
        match (self.key, luks) {
            (Some(key), Some(format)) => Protection::Luks { format, key },
            _ => Protection::Plain,
        }
    }
}

impl ControlPlane {
    /// Makes a volume with the content of an image file, encrypted or plain. The volume has a key of its own from the beginning, so
    /// that neither the image's passphrase nor its header opens it. The image stays as it is.
    ///
    /// An image without a passphrase has to be plain: one that is encrypted is refused, and so is one that is said to be raw and begins as
    /// another format does, because that is more often a slip than a disk, unless it is said to be [opaque](NewImport::opaque). For what an error or a kill leaves,
    /// [`create_volume`](Self::create_volume) says it.
    ///
    /// # Errors
    /// As for [`create_volume`](Self::create_volume); [`Host`](ControlPlaneError::Host) and [`Pool`](ControlPlaneError::Pool) also when
    /// the image is not what it is said to be, or the passphrase does not open it;
    /// [`Claims`](ControlPlaneError::Claims), [`Changed`](ControlPlaneError::Changed).
    pub fn import_volume(&self, call: &Call, new: &NewImport<'_>) -> Result<VolumeRecord, ControlPlaneError> {
        absolute(&new.path)?;
        let id = new.id.clone().unwrap_or_else(VolumeId::random);
        let _claim = self.claims.take(&id)?;
        let offering = self.offering_for(&id, &new.offering)?;
        let filling = match new.key {
            Some(_) => Filling::Copy,
            None => Filling::Template,
        };
        let wish = Wish::of(&offering, filling);
        self.in_some_pool(call, &wish, new.pool.as_ref(), |candidate| {
            self.import_in(call, candidate, &id, &offering, new)
        })
    }

    fn import_in(
        &self,
        call: &Call,
        candidate: &Candidate,
        id: &VolumeId,
        offering: &OfferingRecord,
        new: &NewImport<'_>,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        tracing::debug!(volume = %id, pool = %candidate.pool, "import");
        let action = format!("import volume {id}");
        let image = match new.key {
            Some(_) => capability(new.format, Some(EncryptionFormat::Luks1)),
            None => Capability::PlainImages,
        };
        let abilities = [image, capability(candidate.format, candidate.encryption)];
        let endpoint = self.host_that([&candidate.pool], abilities, &action)?;
        let location = DiskLocation::file(&new.path);
        let facts = look(endpoint.as_ref(), call, &action, &location, new)?;
        refuse_claims(&new.path, &facts, new.opaque)?;
        let disk = Disk::new(&location, new.format, new.protection(facts.encryption));
        let content = match new.key {
            Some(_) => VolumeContent::Copy(disk),
            None => VolumeContent::Template(Template::unnamed(SourceImage::new(&new.path, new.format))),
        };
        let sealed = offering.encrypt.then(|| self.seal_new(id)).transpose()?;
        let guest = new.guest.unwrap_or(facts.guest);
        let plan = Plan {
            driver: candidate.driver.as_ref(),
            record: self.allocation(candidate, id, &offering.id, guest, sealed.as_ref())?,
            sealed: sealed.as_ref(),
            work: Work::Import,
            template: None,
            copies: new.key.is_some(),
            may_stand_alone: false,
        };
        let (record, only) = (&plan.record, self.only(endpoint.as_ref()));
        self.bring_about(
            call,
            &plan,
            |key| {
                let driver = candidate.driver.as_ref();
                new_disk(&only.context(call), driver, record, key, content, &action)
            },
            |job, made| {
                if new.check_digest {
                    let there = digest_of(endpoint.as_ref(), call, &action, disk, None)?;
                    let now = self.digest(call, made, Some(facts.guest))?;
                    let of = format!("the image {}", new.path.display());
                    same(made, &there.to_string(), &now.to_string(), &of)?;
                }
                self.end(job, |transaction| volume_table::set_made(transaction, made))?;
                self.volume(id)
            },
        )
    }
}

/// Has a host look at the image. Of an encrypted one, whichever LUKS it has is the one it is opened with.
fn look(
    endpoint: &dyn Endpoint,
    call: &Call,
    action: &str,
    location: &DiskLocation,
    new: &NewImport<'_>,
) -> Result<DiskFacts, ControlPlaneError> {
    let ask = |luks| match run(
        endpoint,
        call,
        action,
        &InspectDisk::new(location, new.format, luks).into(),
    )? {
        HostAnswer::Disk(facts) => Ok(facts),
        _ => Err(odd_answer(endpoint, action)),
    };
    if new.key.is_none() {
        return ask(None);
    }
    match ask(Some(EncryptionFormat::Luks1)) {
        Err(error) if error.kind() == Some(ErrorKind::WrongDisk) && new.format == DiskFormat::Raw => {
            ask(Some(EncryptionFormat::Luks2)).map_err(|_| error)
        }
        found => found,
    }
}
