use strongroom_secret::SecretFile;
use strongroom_types::{ByteSize, Call, EncryptionFormat, Geometry};
use uuid::Uuid;

use crate::clearance::Overwrite;
use crate::disk::{Disk, Sharing, sync_directory_of};
use crate::inspection::Look;
use crate::luks2_area::header_bytes;
use crate::{Cipher, Cryptsetup, CryptsetupError, Header, Label, Luks2Area, Pbkdf, Target};

/// How a volume is to be formatted. Which LUKS it becomes, the [`Target`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    pub(crate) uuid: Uuid,
    pub(crate) pbkdf: Pbkdf,
    pub(crate) cipher: Cipher,
    pub(crate) label: Option<Label>,
    pub(crate) sector_size: Option<SectorSize>,
    pub(crate) area: Option<Luks2Area>,
    pub(crate) look: Look,
}

/// The unit of encryption of a LUKS2 volume.
///
/// Larger ones are faster, and the volume then has a whole number of them. cryptsetup 2.6.1 by itself takes
/// 4096 on files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum SectorSize {
    /// 512 bytes: any guest and any disk can live with it.
    #[default]
    B512,
    /// 1024 bytes.
    B1024,
    /// 2048 bytes.
    B2048,
    /// 4096 bytes.
    B4096,
}

impl SectorSize {
    /// In bytes.
    #[must_use]
    pub const fn get(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B1024 => 1024,
            Self::B2048 => 2048,
            Self::B4096 => 4096,
        }
    }
}

impl Format {
    /// A volume of this UUID, whose passphrases cost this much to try: AES-256-XTS, sectors of 512 bytes, no
    /// label, on a device that is blank as a whole.
    ///
    /// The UUID is chosen before, and recorded by whoever wants to know after a crash that a half-made header
    /// is his own.
    #[must_use]
    pub const fn new(uuid: Uuid, pbkdf: Pbkdf) -> Self {
        let cipher = Cipher::Aes256Xts;
        Self {
            uuid,
            pbkdf,
            cipher,
            label: None,
            sector_size: None,
            area: None,
            look: Look::Whole,
        }
    }

    /// The same with this cipher.
    #[must_use]
    pub fn cipher(mut self, cipher: Cipher) -> Self {
        self.cipher = cipher;
        self
    }

    /// The same with a label. LUKS2 only.
    #[must_use]
    pub fn label(mut self, label: Label) -> Self {
        self.label = Some(label);
        self
    }

    /// The same with sectors of this size. LUKS2 only.
    #[must_use]
    pub fn sector_size(mut self, size: SectorSize) -> Self {
        self.sector_size = Some(size);
        self
    }

    /// The same with a header of this size. LUKS2 only.
    #[must_use]
    pub fn area(mut self, area: Luks2Area) -> Self {
        self.area = Some(area);
        self
    }

    /// The same after a look at less than the whole device.
    #[must_use]
    pub fn look(mut self, look: Look) -> Self {
        self.look = look;
        self
    }

    /// What the header takes on the device before the payload, or in its own file when it is detached.
    #[must_use]
    pub fn header_size(&self, format: EncryptionFormat) -> ByteSize {
        ByteSize::bytes(header_bytes(format, self.area))
    }
}

/// A volume that was formatted and proved to open.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Formatted {
    /// The header as it was read back.
    pub header: Header,
    /// What a guest sees of the device.
    pub geometry: Geometry,
}

impl Cryptsetup {
    /// Makes a volume that the key opens.
    ///
    /// Requires a device or file that is blank from end to end, unless [`Format::look`] says to look at less, and that nobody has open exclusively or in QEMU; or, with
    /// [`Overwrite::OurUnfinished`], one where an earlier call with the same UUID did not come to its end.
    /// Anything else is refused before anything is written. The look reports progress, and obeys the call
    /// between two reads. A detached header goes into a file that does not
    /// exist yet, made with mode 0600, or onto a blank device.
    ///
    /// From the look to the end the device is locked with `flock`, also while the tool outlives this process.
    /// Of several calls at once one formats; the others wait and find its header.
    ///
    /// Promises that the header on the device is of the target's version, of this UUID and cipher, that the
    /// payload has at least one sector, that the size of the device is what it was, that the key opens it,
    /// and that all of this is on stable storage.
    ///
    /// # Errors
    /// [`CryptsetupError::NotBlank`], [`CryptsetupError::Busy`], [`CryptsetupError::TooSmall`],
    /// [`CryptsetupError::Size`], [`CryptsetupError::Luks2Only`], [`CryptsetupError::Pbkdf`],
    /// [`CryptsetupError::DeviceMissing`], [`CryptsetupError::NotADisk`], [`CryptsetupError::Interrupted`]: nothing
    /// was written.
    /// [`CryptsetupError::Run`] and the rest: the header may be half-written; the same call with
    /// [`Overwrite::OurUnfinished`] begins anew.
    pub fn format(
        &self,
        call: &Call,
        target: &Target,
        format: &Format,
        key: &SecretFile,
        overwrite: Overwrite,
    ) -> Result<Formatted, CryptsetupError> {
        let mut places = vec![target.device()];
        places.extend(target.detached_header());
        self.claiming(call, target, &places)?
            .format_claimed(call, target, format, key, overwrite)
    }

    fn format_claimed(
        &self,
        call: &Call,
        target: &Target,
        format: &Format,
        key: &SecretFile,
        overwrite: Overwrite,
    ) -> Result<Formatted, CryptsetupError> {
        let cleared = format.clear(call, target, overwrite)?;
        call.check().map_err(|source| CryptsetupError::Interrupted {
            action: "luksFormat",
            source,
        })?;
        let made = cleared.make_header_file()?;
        self.run(
            call,
            "luksFormat",
            target.header_device(),
            &cleared.command(self.program(), key),
        )?;
        let proved = self.prove(call, target, format, key)?;
        if proved.geometry.device() != cleared.size() {
            return Err(unproven(target, "the size of the device changed"));
        }
        Disk::open(target.device(), Sharing::Anybody)?.sync()?;
        if target.detached_header().is_some() {
            Disk::open(target.header_device(), Sharing::Anybody)?.sync()?;
        }
        if let Some(made) = made {
            sync_directory_of(target.header_device())?;
            made.keep();
        }
        Ok(proved)
    }

    fn prove(
        &self,
        call: &Call,
        target: &Target,
        format: &Format,
        key: &SecretFile,
    ) -> Result<Formatted, CryptsetupError> {
        let header = self.header(call, target)?;
        if header.uuid != format.uuid {
            return Err(unproven(target, "the header has another UUID"));
        }
        if header.cipher != format.cipher.specification() || header.key_bits != Some(format.cipher.key_bits())
        {
            return Err(unproven(target, "the header has another cipher"));
        }
        let path = target.device().to_owned();
        let size = Disk::open(&path, Sharing::Anybody)?.device_size()?;
        let geometry = header
            .geometry(size)
            .map_err(|source| CryptsetupError::TooSmall { path, source })?;
        match self.try_key(call, target, key, None) {
            Ok(()) => Ok(Formatted { header, geometry }),
            Err(CryptsetupError::WrongPassphrase { .. }) => {
                Err(unproven(target, "the passphrase does not open it"))
            }
            Err(e) => Err(e),
        }
    }
}

fn unproven(target: &Target, finding: &'static str) -> CryptsetupError {
    CryptsetupError::Unproven {
        action: "luksFormat",
        path: target.header_device().to_owned(),
        finding,
    }
}
