use std::collections::BTreeSet;
use std::net::SocketAddr;

use strongroom_endpoint_selector::{FormatDevice, Protection};
use strongroom_storage_pool::{
    Attachment, Capabilities, CreateVolume, Encryption, ErrorKind, LimitVolume, OpContext, PoolDriver,
    PoolError, PoolUsage, ResizeVolume, SnapshotGroup, SnapshotVolume, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{
    Capability, DiskFormat, EncryptionFormat, Geometry, GuestSize, HostId, PayloadOffset, PoolId, VolumeId,
};

use crate::body::Remote;
use crate::client::Client;
use crate::work::{Work, same_side, seen};

const LUKS: EncryptionFormat = EncryptionFormat::Luks1;
const ENCRYPTED: &str = "on-host-luks1";
const PLAIN: &str = "on-host-plain";

/// Volumes that a host encrypts: the storage service has LUKS1 disks and never sees a key.
///
/// The service hands a volume to a host, which writes the header, the content and, whenever something was changed, proves that
/// the key still opens it.
#[derive(Debug)]
pub struct OnHostPool {
    pool: PoolId,
    client: Client,
}

/// What an operation needs to know of a volume's side of the cipher.
struct Side {
    means: &'static str,
    encryption: Option<EncryptionFormat>,
    header: PayloadOffset,
    able_to: Capability,
}

impl Side {
    const LUKS: Self = Self {
        means: ENCRYPTED,
        encryption: Some(LUKS),
        header: PayloadOffset::LUKS1_CRYPTSETUP,
        able_to: Capability::RawLuks1,
    };
    const PLAIN: Self = Self {
        means: PLAIN,
        encryption: None,
        header: PayloadOffset::NONE,
        able_to: Capability::PlainImages,
    };

    fn wanted(key: VolumeKey<'_>) -> Self {
        match key {
            VolumeKey::Plain => Self::PLAIN,
            VolumeKey::Encrypted(_) => Self::LUKS,
        }
    }

    fn of(remote: &Remote) -> Self {
        if remote.means() == Some(ENCRYPTED) {
            Self::LUKS
        } else {
            Self::PLAIN
        }
    }

    /// What the service has to provide so that the guest sees this much.
    fn bytes(&self, work: &Work<'_>, guest: GuestSize) -> Result<u64, PoolError> {
        Geometry::for_guest(guest, self.header)
            .map(|sizes| sizes.device().get())
            .map_err(|e| work.error(ErrorKind::InvalidRequest, &e.to_string()))
    }

    fn seen(&self, work: &Work<'_>, id: &VolumeId, remote: &Remote) -> Result<Volume, PoolError> {
        seen(work, id, remote, self.encryption, self.header)
    }
}

fn protection(key: VolumeKey<'_>) -> Protection<'_> {
    match key {
        VolumeKey::Plain => Protection::Plain,
        VolumeKey::Encrypted(key) => Protection::Luks { format: LUKS, key },
    }
}

impl OnHostPool {
    /// The pool of this name on the service at this address. Nothing is asked yet.
    #[must_use]
    pub fn new(pool: PoolId, service: SocketAddr) -> Self {
        let client = Client::new(service);
        Self { pool, client }
    }

    fn work<'a>(&'a self, cx: &'a OpContext<'a>, operation: &'static str) -> Work<'a> {
        Work {
            client: &self.client,
            pool: &self.pool,
            cx,
            operation,
        }
    }

    /// The volume that must be there, on the side of the cipher that the caller thinks.
    fn expected(&self, work: &Work<'_>, volume: &VolumeId, key: VolumeKey<'_>) -> Result<Side, PoolError> {
        let side = Side::of(&work.existing(volume, &[ENCRYPTED, PLAIN])?);
        same_side(work, volume, side.encryption.is_some(), key)?;
        Ok(side)
    }
}

/// Has a host open an encrypted volume with its key. There is nothing to prove of a plain one.
fn prove(work: &Work<'_>, volume: &VolumeId, key: VolumeKey<'_>) -> Result<(), PoolError> {
    match key {
        VolumeKey::Plain => Ok(()),
        VolumeKey::Encrypted(_) => {
            work.on_host(volume, Capability::RawLuks1, |site| site.verify(protection(key)))
        }
    }
}

impl PoolDriver for OnHostPool {
    fn pool(&self) -> &PoolId {
        &self.pool
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.encryption = Encryption::OnHost(LUKS);
        capabilities.templates = true;
        capabilities.grow = true;
        capabilities.snapshot_offline = BTreeSet::from([DiskFormat::Raw]);
        capabilities.snapshot_group = true;
        capabilities.revert = true;
        capabilities.qos = true;
        capabilities
    }

    fn prepare(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.work(cx, "prepare").claim()
    }

    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        self.work(cx, "usage").usage()
    }

    fn create(&self, cx: &OpContext<'_>, r: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        let (work, side) = (self.work(cx, "create"), Side::wanted(r.key));
        if r.format != DiskFormat::Raw {
            return Err(work.error(ErrorKind::Unsupported, "volumes are raw"));
        }
        let template = match &r.content {
            VolumeContent::Blank => None,
            VolumeContent::Template(template) => Some(template),
            _ => return Err(work.error(ErrorKind::Unsupported, "volumes are blank or hold a template")),
        };
        let finished_now = template.is_none() && side.encryption.is_none();
        let bytes = side.bytes(&work, r.guest)?;
        let mut remote = work.allocate(r.volume, bytes, side.means, finished_now, None)?;
        if remote.is_finished() {
            prove(&work, r.volume, r.key)?;
        } else {
            work.on_host(r.volume, side.able_to, |site| {
                if let VolumeKey::Encrypted(key) = r.key {
                    site.run(FormatDevice::new(r.volume, &site.location, LUKS, key))?;
                }
                template.map_or(Ok(()), |template| site.fill(template, protection(r.key)))?;
                site.verify(protection(r.key))
            })?;
            remote = work.finish(r.volume, side.means)?;
        }
        side.seen(&work, r.volume, &remote)
    }

    fn delete(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<(), PoolError> {
        self.work(cx, "delete").delete(volume)
    }

    fn get(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<Option<Volume>, PoolError> {
        let work = self.work(cx, "get");
        let found = work.find(volume, &[ENCRYPTED, PLAIN])?;
        found
            .map(|remote| Side::of(&remote).seen(&work, volume, &remote))
            .transpose()
    }

    fn attach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<Attachment, PoolError> {
        let work = self.work(cx, "attach");
        let side = Side::of(&work.existing(volume, &[ENCRYPTED, PLAIN])?);
        work.attach(volume, host, side.encryption)
    }

    fn detach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
        self.work(cx, "detach").detach(volume, host)
    }

    fn grow(&self, cx: &OpContext<'_>, r: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        let work = self.work(cx, "grow");
        let side = self.expected(&work, r.volume, r.key)?;
        prove(&work, r.volume, r.key)?;
        let remote = work.resize(r.volume, side.bytes(&work, r.to)?)?;
        prove(&work, r.volume, r.key)?;
        side.seen(&work, r.volume, &remote)
    }

    fn snapshot(&self, cx: &OpContext<'_>, r: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        let work = self.work(cx, "snapshot");
        let side = self.expected(&work, r.volume, r.key)?;
        prove(&work, r.volume, r.key)?;
        let remote = work.snapshot(r)?;
        prove(&work, r.volume, r.key)?;
        side.seen(&work, r.volume, &remote)
    }

    fn snapshot_group(&self, cx: &OpContext<'_>, r: &SnapshotGroup<'_>) -> Result<Vec<Volume>, PoolError> {
        let work = self.work(cx, "snapshot_group");
        let mut sides = Vec::new();
        for (volume, key) in r.volumes {
            sides.push(self.expected(&work, volume, *key)?);
            prove(&work, volume, *key)?;
        }
        let taken = work.snapshot_group(r)?;
        let volumes = r.volumes.iter().zip(&sides).zip(&taken);
        volumes
            .map(|(((volume, _), side), remote)| side.seen(&work, volume, remote))
            .collect()
    }

    fn limit(&self, cx: &OpContext<'_>, r: &LimitVolume<'_>) -> Result<(), PoolError> {
        let work = self.work(cx, "limit");
        work.existing(r.volume, &[ENCRYPTED, PLAIN])?;
        work.limit(r)
    }

    fn recover(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.work(cx, "recover").recover()
    }
}
