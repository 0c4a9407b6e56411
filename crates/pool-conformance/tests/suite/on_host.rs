//! A driver that has everything done by a host, as drivers of files do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::{
    CreateDisk, DeleteDisk, Disk, DiskContent, DiskFacts, FlattenDisk, GrowDisk, HostAnswer, HostCommand,
    InspectDisk, ListDirectory, Need, OpenDirectory, Protection, ShrinkDisk, SnapshotDisk,
};
use strongroom_storage_pool::{
    Attachment, BaseImage, Capabilities, CloneKey, CloneKind, CloneVolume, CreateVolume, DiskLocation,
    Encryption, ErrorKind, FlattenVolume, LimitVolume, OpContext, PoolDriver, PoolError, PoolUsage,
    ResizeVolume, SnapshotAction, SnapshotGroup, SnapshotVolume, SourceImage, Template, Volume,
    VolumeContent, VolumeKey,
};
use strongroom_types::{
    Capability, DiskFormat, EncryptionFormat, GuestSize, HostId, PoolId, TemplateId, VolumeId,
};

const LUKS: EncryptionFormat = EncryptionFormat::Luks1;
const TEMPLATES: &str = "/pool/templates";

#[derive(Debug, Clone)]
pub(crate) struct OnHost(pub(crate) PoolId);

/// A file of a volume, and what is in it.
struct Found {
    location: DiskLocation,
    facts: DiskFacts,
}

fn path(volume: &VolumeId, format: DiskFormat, luks: Option<EncryptionFormat>) -> PathBuf {
    let side = if luks.is_some() { "luks" } else { "plain" };
    PathBuf::from(format!("/pool/{volume}.{side}.{format}"))
}

fn kept(template: &TemplateId) -> PathBuf {
    Path::new(TEMPLATES).join(format!("{template}.raw"))
}

fn protection(key: VolumeKey<'_>) -> Protection<'_> {
    match key {
        VolumeKey::Plain => Protection::Plain,
        VolumeKey::Encrypted(key) => Protection::Luks { format: LUKS, key },
    }
}

fn taken(operation: &'static str, volume: &VolumeId) -> PoolError {
    PoolError::new(
        ErrorKind::AlreadyExists,
        operation,
        format!("there is another volume {volume}"),
    )
}

impl OnHost {
    fn ask(&self, cx: &OpContext<'_>, op: &'static str, c: HostCommand<'_>) -> Result<HostAnswer, PoolError> {
        let need = Need::any().able_to(Capability::PlainImages);
        let host = cx
            .endpoints
            .select(&need)
            .map_err(|e| PoolError::no_host(op, e))?;
        let failed = |e| PoolError::endpoint(op, "the host failed", e);
        host.run(cx.call, &c).map_err(failed)
    }

    fn disk(&self, cx: &OpContext<'_>, op: &'static str, c: HostCommand<'_>) -> Result<DiskFacts, PoolError> {
        match self.ask(cx, op, c)? {
            HostAnswer::Disk(facts) => Ok(facts),
            other => Err(PoolError::new(ErrorKind::Tool, op, format!("{other:?}"))),
        }
    }

    fn find(
        &self,
        cx: &OpContext<'_>,
        op: &'static str,
        volume: &VolumeId,
    ) -> Result<Option<Found>, PoolError> {
        for format in [DiskFormat::Qcow2, DiskFormat::Raw] {
            for luks in [Some(LUKS), None] {
                let location = DiskLocation::file(path(volume, format, luks));
                let inspect = InspectDisk::new(&location, format, luks).base_in(Some(TEMPLATES.as_ref()));
                match self.disk(cx, op, inspect.into()) {
                    Ok(facts) => return Ok(Some(Found { location, facts })),
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(None)
    }

    fn existing(&self, cx: &OpContext<'_>, op: &'static str, volume: &VolumeId) -> Result<Found, PoolError> {
        let nothing = || PoolError::new(ErrorKind::NotFound, op, format!("no volume {volume}"));
        self.find(cx, op, volume)?.ok_or_else(nothing)
    }

    /// Does something with a volume that is there.
    fn change<'c>(
        &self,
        cx: &OpContext<'_>,
        op: &'static str,
        (volume, found): (&VolumeId, &'c Found),
        key: VolumeKey<'c>,
        command: impl FnOnce(Disk<'c>) -> HostCommand<'c>,
    ) -> Result<Volume, PoolError> {
        let base = found.facts.base.as_ref().map(BaseImage::source);
        let disk = Disk::new(&found.location, found.facts.format, protection(key)).on(base);
        let facts = self.disk(cx, op, command(disk))?;
        Ok(seen(volume, &facts))
    }

    fn make(
        &self,
        cx: &OpContext<'_>,
        op: &'static str,
        volume: &VolumeId,
        (format, guest, key): (DiskFormat, GuestSize, VolumeKey<'_>),
        content: DiskContent<'_>,
    ) -> Result<Volume, PoolError> {
        let into = protection(key);
        content
            .admit("CreateDisk", into)
            .map_err(|e| PoolError::endpoint(op, "not with this content", e))?;
        if let Some(found) = self.find(cx, op, volume)? {
            let facts = &found.facts;
            if (facts.format, facts.encryption, facts.guest) != (format, into.format(), guest) {
                return Err(taken(op, volume));
            }
            // Opens it with the key and changes nothing.
            return self.change(cx, op, (volume, &found), key, |disk| {
                GrowDisk::new(disk, guest).into()
            });
        }
        let path = path(volume, format, into.format());
        let command = CreateDisk::new(&path, format, guest, into, content);
        match self.disk(cx, op, command.into()) {
            Ok(facts) => Ok(seen(volume, &facts)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                let found = self.existing(cx, op, volume)?;
                self.change(cx, op, (volume, &found), key, |disk| {
                    GrowDisk::new(disk, guest).into()
                })
            }
            Err(e) => Err(e),
        }
    }

    /// The pool's copy of a template.
    fn keep(
        &self,
        cx: &OpContext<'_>,
        template: Template<'_>,
        guest: GuestSize,
    ) -> Result<PathBuf, PoolError> {
        let Some(id) = template.id else {
            let message = "an overlay has a template with a name";
            return Err(PoolError::new(ErrorKind::InvalidRequest, "create", message));
        };
        let path = kept(id);
        let content = DiskContent::Template(template.image);
        let command = CreateDisk::new(&path, DiskFormat::Raw, guest, Protection::Plain, content);
        match self.disk(cx, "create", command.into()) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
            _ => Ok(path),
        }
    }
}

fn seen(volume: &VolumeId, facts: &DiskFacts) -> Volume {
    let mut seen = Volume::new(
        volume.clone(),
        facts.format,
        facts.encryption,
        facts.guest,
        facts.device,
    );
    seen.snapshots.clone_from(&facts.snapshots);
    let stem = facts.base.as_ref().and_then(|base| base.path.file_stem());
    seen.overlay_of = stem.map(|stem| stem.to_str().unwrap().parse().unwrap());
    seen
}

impl PoolDriver for OnHost {
    fn pool(&self) -> &PoolId {
        &self.0
    }
    fn capabilities(&self) -> Capabilities {
        let qcow2 = BTreeSet::from([DiskFormat::Qcow2]);
        let mut can = Capabilities::none();
        can.encryption = Encryption::OnHost(LUKS);
        can.formats = BTreeSet::from([DiskFormat::Raw, DiskFormat::Qcow2]);
        can.templates = true;
        can.overlays.clone_from(&qcow2);
        can.copies = true;
        can.clone = BTreeSet::from([CloneKind::OwnKey]);
        can.grow = true;
        can.shrink = true;
        can.snapshot_offline = qcow2;
        can.snapshot_group = true;
        can.revert = true;
        can
    }
    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        match self.ask(cx, "usage", OpenDirectory::new("/pool".as_ref()).into())? {
            HostAnswer::Directory(d) => Ok(PoolUsage::new(d.total, d.free)),
            other => Err(PoolError::new(ErrorKind::Tool, "usage", format!("{other:?}"))),
        }
    }
    fn create(&self, cx: &OpContext<'_>, r: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        let as_asked = (r.format, r.guest, r.key);
        let content = match r.content {
            VolumeContent::Template(template) => DiskContent::Template(template.image),
            VolumeContent::Copy(disk) => DiskContent::Copy(disk),
            VolumeContent::Declassified(disk, why) => DiskContent::Declassified(disk, why),
            VolumeContent::Overlay(template) if r.format == DiskFormat::Qcow2 => {
                let path = self.keep(cx, template, r.guest)?;
                let base = SourceImage::new(&path, DiskFormat::Raw);
                return self.make(cx, "create", r.volume, as_asked, DiskContent::Overlay(base));
            }
            VolumeContent::Overlay(_) => return Err(PoolError::unsupported("create", "no overlays of raw")),
            _ => DiskContent::Blank,
        };
        self.make(cx, "create", r.volume, as_asked, content)
    }
    fn delete(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<(), PoolError> {
        while let Some(found) = self.find(cx, "delete", volume)? {
            self.ask(cx, "delete", DeleteDisk::new(found.location.path()).into())?;
        }
        Ok(())
    }
    fn get(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<Option<Volume>, PoolError> {
        Ok(self
            .find(cx, "get", volume)?
            .map(|found| seen(volume, &found.facts)))
    }
    fn attach(&self, cx: &OpContext<'_>, volume: &VolumeId, _: &HostId) -> Result<Attachment, PoolError> {
        let found = self.existing(cx, "attach", volume)?;
        let mut at = Attachment::new(found.location, found.facts.format, found.facts.encryption);
        at.base = found.facts.base;
        Ok(at)
    }
    fn detach(&self, _: &OpContext<'_>, _: &VolumeId, _: &HostId) -> Result<(), PoolError> {
        Ok(())
    }
    fn grow(&self, cx: &OpContext<'_>, r: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        let found = self.existing(cx, "grow", r.volume)?;
        self.change(cx, "grow", (r.volume, &found), r.key, |disk| {
            GrowDisk::new(disk, r.to).into()
        })
    }
    fn shrink(&self, cx: &OpContext<'_>, r: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        let found = self.existing(cx, "shrink", r.volume)?;
        self.change(cx, "shrink", (r.volume, &found), r.key, |disk| {
            ShrinkDisk::new(disk, r.to).into()
        })
    }
    fn snapshot(&self, cx: &OpContext<'_>, r: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        let found = self.existing(cx, "snapshot", r.volume)?;
        let command = |disk| SnapshotDisk::new(disk, r.snapshot, r.action).into();
        self.change(cx, "snapshot", (r.volume, &found), r.key, command)
    }
    fn snapshot_group(&self, cx: &OpContext<'_>, r: &SnapshotGroup<'_>) -> Result<Vec<Volume>, PoolError> {
        const GROUP: &str = "snapshot_group";
        let mut have = 0;
        for (volume, _) in r.volumes {
            let found = self.existing(cx, GROUP, volume)?;
            have += usize::from(found.facts.snapshots.contains(r.snapshot));
        }
        // Nobody else takes snapshots here, so that the first ones alone are those of a group that was begun.
        if have > 0
            && !self
                .existing(cx, GROUP, r.volumes[0].0)?
                .facts
                .snapshots
                .contains(r.snapshot)
        {
            return Err(taken(GROUP, r.volumes[0].0));
        }
        let mut taken = Vec::new();
        for (volume, key) in r.volumes {
            let request = SnapshotVolume::new(volume, r.snapshot, SnapshotAction::Create, *key);
            taken.push(self.snapshot(cx, &request)?);
        }
        Ok(taken)
    }
    fn clone_volume(&self, cx: &OpContext<'_>, r: &CloneVolume<'_>) -> Result<Volume, PoolError> {
        const CLONE: &str = "clone_volume";
        let CloneKey::Own(key) = r.key else {
            return Err(PoolError::unsupported(CLONE, "a clone has a key of its own"));
        };
        let source = self.existing(cx, CLONE, r.source)?;
        if source.facts.encryption != protection(key).format() {
            let message = "a clone is on the same side of the cipher as its source";
            return Err(PoolError::new(ErrorKind::InvalidRequest, CLONE, message));
        }
        let base = source.facts.base.as_ref().map(BaseImage::source);
        let disk = Disk::new(&source.location, source.facts.format, protection(r.source_key)).on(base);
        let as_source = (source.facts.format, source.facts.guest, key);
        self.make(cx, CLONE, r.volume, as_source, DiskContent::Copy(disk))
    }
    fn flatten(&self, cx: &OpContext<'_>, r: &FlattenVolume<'_>) -> Result<Volume, PoolError> {
        let found = self.existing(cx, "flatten", r.volume)?;
        self.change(cx, "flatten", (r.volume, &found), r.key, |disk| {
            FlattenDisk::new(disk).into()
        })
    }
    fn limit(&self, _: &OpContext<'_>, _: &LimitVolume<'_>) -> Result<(), PoolError> {
        Err(PoolError::unsupported("limit", "no limits here"))
    }
    fn forget_template(&self, cx: &OpContext<'_>, template: &TemplateId) -> Result<(), PoolError> {
        const FORGET: &str = "forget_template";
        let HostAnswer::Names(names) = self.ask(cx, FORGET, ListDirectory::new("/pool".as_ref()).into())?
        else {
            return Err(PoolError::new(ErrorKind::Tool, FORGET, "no names"));
        };
        for name in names {
            let id: VolumeId = name.split('.').next().unwrap().parse().unwrap();
            let volume = self.get(cx, &id)?;
            if volume.is_some_and(|v| v.overlay_of.as_ref() == Some(template)) {
                return Err(PoolError::new(
                    ErrorKind::Busy,
                    FORGET,
                    format!("volume {id} lies on it"),
                ));
            }
        }
        self.ask(cx, FORGET, DeleteDisk::new(&kept(template)).into())
            .map(drop)
    }
}
