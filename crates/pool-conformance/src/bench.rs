use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use strongroom_endpoint_selector::EndpointSelector;
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    Attachment, Capabilities, CreateVolume, Encryption, OpContext, PoolDriver, PoolError, Template, Volume,
    VolumeContent, VolumeKey,
};
use strongroom_types::{
    Call, DiskFormat, EncryptionFormat, GuestSize, HostId, SnapshotId, TemplateId, VolumeId,
};

use crate::expect::{done, told};
use crate::failure::{Checked, Failure, Stop};
use crate::faulty_endpoint::{FaultPlan, FaultySelector};
use crate::guest::{Guest, GuestError, HostGuest};
use crate::image::Image;
use crate::site::{Open, Site};

/// A format and a side of the cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) format: DiskFormat,
    pub(crate) encrypted: bool,
}

impl Kind {
    pub(crate) fn other_side(self) -> Self {
        Self {
            encrypted: !self.encrypted,
            ..self
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.encrypted { "an encrypted" } else { "a plain" };
        write!(f, "{side} {}", self.format)
    }
}

/// What one check works with: a driver that was opened for it, and names that nobody else has. What it made goes when it ends.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) site: Site,
    pub(crate) driver: Box<dyn PoolDriver>,
    pub(crate) capabilities: Capabilities,
    pub(crate) plan: FaultPlan,
    pub(crate) host: HostId,
    selector: FaultySelector<Arc<dyn EndpointSelector>>,
    call: Call,
    keys: [Passphrase; 3],
    guest: Option<Arc<dyn Guest>>,
    scratch: tempfile::TempDir,
    run: String,
    pub(crate) volumes: Mutex<Vec<VolumeId>>,
    pub(crate) templates: Mutex<Vec<TemplateId>>,
}

fn impossible(error: &dyn Error) -> Stop {
    Stop::NotTested(format!("the suite could not begin: {}", told(error)))
}

impl Bench {
    pub(crate) fn new(site: &Site) -> Checked<Self> {
        let plan = FaultPlan::new();
        let selector = FaultySelector::new(site.selector(), plan.clone());
        let driver = open(&site.open)?;
        let key = || Passphrase::generate().map_err(|e| impossible(&e));
        let id = site
            .hosts
            .first()
            .map(|host| host.host().id)
            .or(site.host.clone());
        let host = match id {
            Some(host) => host,
            None => "conformance".parse().map_err(|e| impossible(&e))?,
        };
        let by_host = || {
            site.hosts
                .first()
                .map(|host| Arc::new(HostGuest::new(Arc::clone(host))) as Arc<dyn Guest>)
        };
        Ok(Self {
            capabilities: driver.capabilities(),
            driver,
            selector,
            plan,
            host,
            call: Call::new(),
            keys: [key()?, key()?, key()?],
            guest: site.guest.clone().or_else(by_host),
            scratch: tempfile::tempdir().map_err(|e| impossible(&e))?,
            run: VolumeId::random()
                .as_str()
                .chars()
                .filter(|c| *c != '-')
                .take(12)
                .collect(),
            site: site.clone(),
            volumes: Mutex::default(),
            templates: Mutex::default(),
        })
    }

    /// The same storage by another driver, as after a restart.
    pub(crate) fn reopened(&self) -> Checked<Box<dyn PoolDriver>> {
        open(&self.site.open)
    }

    pub(crate) fn cx(&self) -> OpContext<'_> {
        self.cx_of(&self.call)
    }

    pub(crate) fn cx_of<'a>(&'a self, call: &'a Call) -> OpContext<'a> {
        OpContext::new(call, &self.selector)
    }

    /// A name that begins with a letter and that no volume has.
    pub(crate) fn volume(&self) -> Checked<VolumeId> {
        // In one step, so that two threads do not get one name.
        let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("check-{}-{}", self.run, volumes.len());
        let id: VolumeId = name.parse().map_err(|e| impossible(&e))?;
        volumes.push(id.clone());
        Ok(id)
    }

    pub(crate) fn named(&self, name: &str) -> Checked<VolumeId> {
        let id: VolumeId = name.parse().map_err(|e| impossible(&e))?;
        self.volumes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(id.clone());
        Ok(id)
    }

    pub(crate) fn run_name(&self) -> &str {
        &self.run
    }

    pub(crate) fn snapshot(&self, name: &str) -> Checked<SnapshotId> {
        name.parse().map_err(|e| impossible(&e))
    }

    pub(crate) fn template(&self) -> Checked<TemplateId> {
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("check-{}-t{}", self.run, templates.len());
        let id: TemplateId = name.parse().map_err(|e| impossible(&e))?;
        templates.push(id.clone());
        Ok(id)
    }

    /// A size that is no multiple of anything but a sector.
    pub(crate) fn size(&self) -> Checked<GuestSize> {
        self.bytes(self.site.size.saturating_add(3 * 512))
    }

    /// So many MiB more than that.
    pub(crate) fn larger(&self, by: u64) -> Checked<GuestSize> {
        self.bytes(self.size()?.get().saturating_add(by << 20))
    }

    pub(crate) fn bytes(&self, bytes: u64) -> Checked<GuestSize> {
        GuestSize::new(bytes).map_err(|e| impossible(&e))
    }

    /// Every kind of volume that the pool makes, encrypted ones and qcow2 first.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let formats = [DiskFormat::Qcow2, DiskFormat::Raw];
        let all = [true, false]
            .into_iter()
            .flat_map(|encrypted| formats.into_iter().map(move |format| Kind { format, encrypted }));
        all.filter(|kind| self.makes(*kind)).collect()
    }

    fn makes(&self, kind: Kind) -> bool {
        let encrypts = match self.capabilities.encryption {
            Encryption::Unsupported => false,
            Encryption::OnHost(EncryptionFormat::Luks2) => kind.format == DiskFormat::Raw,
            _ => true,
        };
        self.capabilities.formats.contains(&kind.format) && (encrypts || !kind.encrypted)
    }

    /// The kind that is looked at where one is enough.
    pub(crate) fn kind(&self) -> Checked<Kind> {
        self.kind_of(&self.capabilities.formats)
    }

    pub(crate) fn kind_of(&self, formats: &BTreeSet<DiskFormat>) -> Checked<Kind> {
        let kinds = self.kinds();
        let kind = kinds.into_iter().find(|kind| formats.contains(&kind.format));
        kind.ok_or_else(|| Stop::NotTested("the pool makes no volumes in such a format".to_owned()))
    }

    /// The encrypted kinds.
    pub(crate) fn encrypted(&self) -> Vec<Kind> {
        self.kinds().into_iter().filter(|kind| kind.encrypted).collect()
    }

    pub(crate) fn key(&self, kind: Kind, number: usize) -> VolumeKey<'_> {
        match self.keys.get(number) {
            Some(key) if kind.encrypted => VolumeKey::Encrypted(key),
            _ => VolumeKey::Plain,
        }
    }

    pub(crate) fn create(
        &self,
        volume: &VolumeId,
        kind: Kind,
        size: GuestSize,
        content: VolumeContent<'_>,
    ) -> Result<Volume, PoolError> {
        let request = CreateVolume::new(volume, size, kind.format, self.key(kind, 0), content);
        self.driver.create(&self.cx(), &request)
    }

    /// A new blank volume.
    pub(crate) fn make(&self, kind: Kind) -> Checked<Volume> {
        let id = self.volume()?;
        let made = self.create(&id, kind, self.size()?, VolumeContent::Blank);
        done(&format!("create of {kind} volume"), made)
    }

    /// A new volume with the content of an image.
    pub(crate) fn make_with(&self, kind: Kind, image: &Image) -> Checked<Volume> {
        let made = self.make(kind)?;
        self.write(&made.id, self.key(kind, 0), image)?;
        Ok(made)
    }

    pub(crate) fn get(&self, volume: &VolumeId) -> Checked<Option<Volume>> {
        done("get", self.driver.get(&self.cx(), volume))
    }

    pub(crate) fn there(&self, volume: &VolumeId) -> Checked<Volume> {
        self.get(volume)?.ok_or_else(|| {
            let advice = "a volume that was made is there until it is deleted";
            Failure::new(
                "get says what the volume is",
                "get says that there is none",
                advice,
            )
            .into()
        })
    }

    pub(crate) fn delete(&self, volume: &VolumeId) -> Checked {
        done("delete", self.driver.delete(&self.cx(), volume))
    }

    /// An image that is as large as a volume and that no other check has.
    pub(crate) fn image(&self, name: &str) -> Checked<Image> {
        self.image_of(name, self.size()?)
    }

    pub(crate) fn image_of(&self, name: &str, size: GuestSize) -> Checked<Image> {
        let marked = format!("{} {name}", self.run);
        let content = crate::image::content(&marked, size);
        let file = format!("{}-{name}.raw", self.run);
        let path = match &self.site.images {
            Some(put) => put(&file, &content),
            None => {
                let path: PathBuf = self.scratch.path().join(&file);
                std::fs::write(&path, &content).map(|()| path)
            }
        };
        let path = path.map_err(|e| impossible(&e))?;
        Ok(Image::new(path, &marked, size))
    }

    /// Does something with an attached volume, as a guest.
    pub(crate) fn attached<T>(
        &self,
        volume: &VolumeId,
        work: impl FnOnce(&dyn Guest, &Attachment) -> Result<T, GuestError>,
    ) -> Checked<T> {
        let guest = self.guest.as_ref().ok_or_else(|| {
            Stop::NotTested("the site has neither a host nor a guest to see volumes with".to_owned())
        })?;
        let at = done("attach", self.driver.attach(&self.cx(), volume, &self.host))?;
        let worked = work(guest.as_ref(), &at);
        done("detach", self.driver.detach(&self.cx(), volume, &self.host))?;
        worked.map_err(|e| match e {
            GuestError::Unsupported(why) => Stop::NotTested(why),
            GuestError::WrongKey => Failure::new(
                "the volume opens with its key",
                "the key does not open it",
                "make the volume with the key of the request, and never touch its header without putting a header back that the key opens",
            )
            .into(),
            other => Failure::new(
                "a host can use the volume as the attachment says",
                told(&other),
                "say in the attachment where the volume is, in which format, with which LUKS and on which base",
            )
            .into(),
        })
    }

    pub(crate) fn write(&self, volume: &VolumeId, key: VolumeKey<'_>, image: &Image) -> Checked {
        self.attached(volume, |guest, at| guest.write(at, key, &image.path))
    }

    pub(crate) fn reads(&self, volume: &VolumeId, key: VolumeKey<'_>, image: &Image) -> Checked<bool> {
        self.attached(volume, |guest, at| guest.reads(at, key, &image.path))
    }

    /// Whether the key opens the volume.
    pub(crate) fn opens(&self, volume: &VolumeId, key: VolumeKey<'_>) -> Checked<bool> {
        self.attached(volume, |guest, at| match guest.open(at, key) {
            Err(GuestError::WrongKey) => Ok(false),
            other => other.map(|()| true),
        })
    }

    pub(crate) fn digest(
        &self,
        volume: &VolumeId,
        key: VolumeKey<'_>,
        first: GuestSize,
    ) -> Checked<[u8; 32]> {
        self.attached(volume, |guest, at| guest.digest(at, key, first))
    }

    pub(crate) fn named_template<'a>(&self, id: &'a TemplateId, image: &'a Image) -> Template<'a> {
        Template::named(id, image.source())
    }
}

fn open(open: &Open) -> Checked<Box<dyn PoolDriver>> {
    open().map_err(|e| {
        let advice = "give the suite storage on which the driver opens as often as it likes";
        Failure::new("the driver opens", told(e.as_ref()), advice).into()
    })
}
