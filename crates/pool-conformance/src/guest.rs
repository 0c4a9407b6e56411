use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::{
    CompareContent, DigestContent, Disk, Endpoint, EndpointError, ErrorKind, HostAnswer, HostCommand,
    Protection, ReplaceContent, Sameness, SourceImage, VerifyDisk,
};
use strongroom_storage_pool::{Attachment, VolumeKey};
use strongroom_types::{Call, DiskFormat, GuestSize};

/// Why a volume could not be seen as a guest sees it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestError {
    /// The key does not open the volume.
    #[error("the key does not open the volume")]
    WrongKey,
    /// It cannot be looked at in this way; that is no fault of the driver.
    #[error("this cannot be looked at: {0}")]
    Unsupported(String),
    /// Everything else: the attachment is not what it says, or the host failed.
    #[error("what is attached cannot be used as the attachment says")]
    Unusable(#[source] Box<dyn Error + Send + Sync>),
}

/// Sees an attached volume as a guest does: through the cipher.
pub trait Guest: Send + Sync + fmt::Debug {
    /// Opens the volume with the key and proves it.
    ///
    /// # Errors
    /// [`GuestError::WrongKey`] when the key does not open it.
    fn open(&self, at: &Attachment, key: VolumeKey<'_>) -> Result<(), GuestError>;

    /// Writes a raw image onto the beginning of the volume.
    ///
    /// # Errors
    /// [`GuestError`]
    fn write(&self, at: &Attachment, key: VolumeKey<'_>, image: &Path) -> Result<(), GuestError>;

    /// Whether the volume reads as this raw image, which is as large as the volume.
    ///
    /// # Errors
    /// [`GuestError`]
    fn reads(&self, at: &Attachment, key: VolumeKey<'_>, image: &Path) -> Result<bool, GuestError>;

    /// 32 bytes that are the same for the same content of the first bytes of the volume.
    ///
    /// # Errors
    /// [`GuestError`]
    fn digest(&self, at: &Attachment, key: VolumeKey<'_>, first: GuestSize) -> Result<[u8; 32], GuestError>;
}

/// Sees volumes by the commands of a host.
#[derive(Debug, Clone)]
pub struct HostGuest(Arc<dyn Endpoint>);

impl HostGuest {
    /// By this host's commands.
    #[must_use]
    pub fn new(host: Arc<dyn Endpoint>) -> Self {
        Self(host)
    }

    fn run(&self, command: &HostCommand<'_>) -> Result<HostAnswer, GuestError> {
        self.0
            .run(&Call::new(), command)
            .map_err(|e: EndpointError| match e.kind() {
                ErrorKind::WrongKey => GuestError::WrongKey,
                ErrorKind::Unsupported => GuestError::Unsupported(e.to_string()),
                _ => GuestError::Unusable(e.into()),
            })
    }
}

fn disk<'a>(at: &'a Attachment, key: VolumeKey<'a>) -> Result<Disk<'a>, GuestError> {
    let protection = match (at.encryption, key) {
        (None, _) => Protection::Plain,
        (Some(format), VolumeKey::Encrypted(key)) => Protection::Luks { format, key },
        (Some(_), VolumeKey::Plain) => {
            let message = "the attachment of a plain volume says that the host opens it with LUKS";
            return Err(GuestError::Unusable(message.into()));
        }
    };
    let base = at.base.as_ref().map(|base| base.source());
    Ok(Disk::new(&at.location, at.format, protection).on(base))
}

fn strange(answer: &HostAnswer) -> GuestError {
    GuestError::Unusable(format!("the host gave an answer of another kind: {answer:?}").into())
}

impl Guest for HostGuest {
    fn open(&self, at: &Attachment, key: VolumeKey<'_>) -> Result<(), GuestError> {
        self.run(&VerifyDisk::new(disk(at, key)?).into()).map(drop)
    }

    fn write(&self, at: &Attachment, key: VolumeKey<'_>, image: &Path) -> Result<(), GuestError> {
        let source = SourceImage::new(image, DiskFormat::Raw);
        self.run(&ReplaceContent::new(disk(at, key)?, source.into()).into())
            .map(drop)
    }

    fn reads(&self, at: &Attachment, key: VolumeKey<'_>, image: &Path) -> Result<bool, GuestError> {
        let source = SourceImage::new(image, DiskFormat::Raw);
        match self.run(&CompareContent::new(disk(at, key)?, source.into()).into())? {
            HostAnswer::Compared(sameness) => Ok(sameness == Sameness::Identical),
            other => Err(strange(&other)),
        }
    }

    fn digest(&self, at: &Attachment, key: VolumeKey<'_>, first: GuestSize) -> Result<[u8; 32], GuestError> {
        match self.run(&DigestContent::new(disk(at, key)?).first(Some(first)).into())? {
            HostAnswer::Digest(digest) => Ok(digest.sha256),
            other => Err(strange(&other)),
        }
    }
}
