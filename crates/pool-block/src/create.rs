use strongroom_endpoint_selector::{
    ContentSource, Disk, DiskFacts, FormatDevice, FormatQcow2, InspectDisk, Need, ProveBlank, ReplaceContent,
    VerifyDisk,
};
use strongroom_storage_pool::{
    CloneVolume, CreateVolume, ErrorKind, OpContext, PoolError, Template, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{DiskFormat, HostId};

use crate::errand::{Errand, Purpose};
use crate::kind::{Kind, LUKS, protection};
use crate::template::is_template;
use crate::{BlockPool, BlockStorage, Label, Provided, Stage, Supply};

impl<S: BlockStorage> BlockPool<S> {
    /// Makes a volume, or says what is there. What an earlier attempt left is removed first, since nobody knows how far it came.
    pub(crate) fn create_volume(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        request: &CreateVolume<'_>,
        host: Option<&HostId>,
    ) -> Result<Volume, PoolError> {
        self.is_no_template(operation, request.volume)?;
        let _claim = self.claim(cx, operation, request.volume)?;
        self.create_claimed(cx, operation, request, host)
    }

    /// The same of one that is claimed.
    pub(crate) fn create_claimed(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        request: &CreateVolume<'_>,
        host: Option<&HostId>,
    ) -> Result<Volume, PoolError> {
        let (id, kind) = (request.volume, Kind::new(request.format, request.key));
        let source = self.admit(operation, request)?;
        let mut need = kind.need(Need::any());
        if let Some(ContentSource::Disk(disk) | ContentSource::Declassified(disk, _)) = source {
            need = of_disk(&disk).need(need);
            if disk.base.is_some() {
                need = of_disk(&disk).need_as_overlay(need);
            }
        }
        if matches!(request.content, VolumeContent::Overlay(_)) {
            need = kind.need_as_overlay(need);
        }
        if let Some(host) = host {
            need = need.on(host.clone());
        }
        match self.find(cx, operation, id)? {
            Some(provided) if provided.label.stage == Stage::Ready => {
                let purpose = Purpose::reading(operation, id, &provided);
                return self.same(cx, purpose, request, need);
            }
            Some(provided) => self.clear(cx, operation, id, &provided)?,
            None => {}
        }
        let percent = if is_template(id) { 100 } else { self.qcow2_percent };
        let size = kind
            .device(request.guest, percent)
            .map_err(|e| self.error(ErrorKind::InvalidRequest, operation, &e.to_string()))?;
        let stage = match self.storage.features().supply {
            Supply::Made => Stage::Begun,
            Supply::Reused => Stage::Assigned,
        };
        let mut label = Label::new(stage, kind.format, kind.encryption, request.guest);
        let kept = match request.content {
            VolumeContent::Overlay(template) => Some(self.keep(cx, operation, &template, request.guest)?),
            _ => None,
        };
        if let Some(kept) = &kept {
            label = label.on(&kept.provided.label);
        }
        let provided = self.storage.provision(cx.call, id, size, &label);
        // The label says what the volume lies on, so that nobody forgets the template from here on.
        drop(kept);
        provided
            .map_err(self.failed(operation))
            .and_then(|provided| {
                let purpose = Purpose::reading(operation, id, &provided);
                self.on_host(cx, purpose, need, |errand| {
                    errand.base = self.base_of(cx, purpose, errand)?;
                    self.make(cx, purpose, errand, request, source)
                })
            })
            .inspect_err(|_| self.give_up(cx, operation, id, &label))
    }

    /// What is to be copied into the volume, if this pool makes such volumes.
    fn admit<'a>(
        &self,
        operation: &'static str,
        request: &CreateVolume<'a>,
    ) -> Result<Option<ContentSource<'a>>, PoolError> {
        if matches!(request.key, VolumeKey::Encrypted(_)) && !self.encryption {
            let message = "does not encrypt; ask for another pool";
            return Err(self.error(ErrorKind::Unsupported, operation, message));
        }
        let source = match request.content {
            VolumeContent::Blank => return Ok(None),
            VolumeContent::Overlay(template) => {
                return self.may_lie(operation, request, &template).map(|()| None);
            }
            VolumeContent::Template(template) => ContentSource::Image(template.image),
            VolumeContent::Copy(disk) => ContentSource::Disk(disk),
            VolumeContent::Declassified(disk, why) => ContentSource::Declassified(disk, why),
            _ => {
                let message = "makes no volumes with such content";
                return Err(self.error(ErrorKind::Unsupported, operation, message));
            }
        };
        source
            .admit(operation, protection(request.key))
            .map_err(|e| self.error(e.kind(), operation, e.message()))?;
        Ok(Some(source))
    }

    /// The volume that is there, if it is the one that is asked for and its key opens it.
    fn same(
        &self,
        cx: &OpContext<'_>,
        purpose: Purpose<'_>,
        request: &CreateVolume<'_>,
        need: Need,
    ) -> Result<Volume, PoolError> {
        let (kind, label) = (Kind::new(request.format, request.key), &purpose.provided.label);
        let there = Kind::of(label);
        let other = |bytes: u64| {
            let message = format!(
                "volume {} is there already, {there} of {bytes} bytes",
                purpose.volume
            );
            self.error(ErrorKind::AlreadyExists, purpose.operation, &message)
        };
        if there != kind {
            return Err(other(label.guest.get()));
        }
        self.on_disk(cx, purpose, need, |errand| {
            let seen = self.look(errand, purpose)?;
            if seen.guest != request.guest {
                return Err(other(seen.guest.get()));
            }
            let disk = errand.on_base(kind.disk(&seen.location, request.key));
            let facts = errand.disk(kind, VerifyDisk::new(disk))?;
            Ok(errand.volume(purpose.volume, purpose.provided, facts))
        })
    }

    /// Makes the disk on its device, and says that it is ready when it has been opened with its key.
    fn make(
        &self,
        cx: &OpContext<'_>,
        purpose: Purpose<'_>,
        errand: &Errand<'_>,
        request: &CreateVolume<'_>,
        source: Option<ContentSource<'_>>,
    ) -> Result<Volume, PoolError> {
        let (id, kind) = (request.volume, Kind::new(request.format, request.key));
        if let Some(user) = &errand.used_by {
            let message = format!("{} is in use by {user}", errand.device.path.display());
            return Err(errand.error(ErrorKind::Busy, &message));
        }
        let location = kind
            .location(&errand.device, request.guest)
            .map_err(self.unfit(purpose.operation))?;
        let mut label = purpose.provided.label.clone();
        if label.stage == Stage::Assigned {
            errand.done(ProveBlank::new(&location))?;
            label = self.relabel(cx, purpose, &label, &label.at(Stage::Begun))?;
        }
        let disk = errand.on_base(kind.disk(&location, request.key));
        let empty = match (kind.format, request.key) {
            (DiskFormat::Raw, VolumeKey::Encrypted(key)) => {
                errand.disk(kind, FormatDevice::new(id, &location, LUKS, key))
            }
            (DiskFormat::Raw, VolumeKey::Plain) => {
                errand.disk(kind, InspectDisk::new(&location, kind.format, None))
            }
            (DiskFormat::Qcow2, key) => errand.disk(
                kind,
                FormatQcow2::new(id, &location, request.guest, protection(key)).base(disk.base),
            ),
        }?;
        errand.exactly(empty, request.guest)?;
        if let Some(source) = source {
            errand.disk(kind, ReplaceContent::new(disk, source))?;
            if is_template(id) {
                errand.identical(disk, source)?;
                if let VolumeContent::Template(Template {
                    digest: Some(digest), ..
                }) = request.content
                {
                    errand.holds(disk, request.guest, digest)?;
                }
            }
        }
        let facts = verified(errand, kind, disk, request)?;
        errand.lies_right(&facts)?;
        self.relabel(cx, purpose, &label, &label.at(Stage::Ready))?;
        Ok(errand.volume(id, purpose.provided, facts))
    }

    pub(crate) fn relabel(
        &self,
        cx: &OpContext<'_>,
        purpose: Purpose<'_>,
        from: &Label,
        to: &Label,
    ) -> Result<Label, PoolError> {
        self.storage
            .relabel(cx.call, purpose.volume, from, to)
            .map_err(self.failed(purpose.operation))?;
        Ok(to.clone())
    }

    /// Makes a volume with the content of another, on one host that has both.
    pub(crate) fn clone_with_key(
        &self,
        cx: &OpContext<'_>,
        request: &CloneVolume<'_>,
        key: VolumeKey<'_>,
    ) -> Result<Volume, PoolError> {
        const CLONE: &str = "clone_volume";
        if request.source == request.volume {
            let message = format!("volume {} cannot be its own clone", request.volume);
            return Err(self.error(ErrorKind::InvalidRequest, CLONE, &message));
        }
        let provided: Provided = self.existing(cx, CLONE, request.source)?;
        let purpose = Purpose::reading(CLONE, request.source, &provided);
        let kind = self.same_side(purpose, request.source_key)?;
        if kind != Kind::new(kind.format, key) {
            let message = format!("volume {} is {kind}, and so has its clone to be", request.source);
            return Err(self.error(ErrorKind::InvalidRequest, CLONE, &message));
        }
        self.on_disk(cx, purpose, kind.need(Need::any()), |errand| {
            let location = kind
                .location(&errand.device, provided.label.guest)
                .map_err(self.unfit(CLONE))?;
            let source = errand.on_base(kind.disk(&location, request.source_key));
            let facts = errand.disk(kind, VerifyDisk::new(source))?;
            let content = VolumeContent::Copy(source);
            let create = CreateVolume::new(request.volume, facts.guest, kind.format, key, content);
            self.create_volume(cx, CLONE, &create, Some(&errand.host))
        })
    }
}

/// How the sectors of somebody's disk lie.
fn of_disk(disk: &Disk<'_>) -> Kind {
    Kind {
        format: disk.format,
        encryption: disk.protection.format(),
    }
}

/// The new disk, if its key opens it, another does not, and a guest sees what was asked for.
fn verified(
    errand: &Errand<'_>,
    kind: Kind,
    disk: Disk<'_>,
    request: &CreateVolume<'_>,
) -> Result<DiskFacts, PoolError> {
    let facts = errand.disk(kind, VerifyDisk::new(disk))?;
    errand.exactly(facts, request.guest)
}
