use strongroom_endpoint_selector::{BaseImage, DiskFacts, FlattenDisk, InspectDisk, Need, VerifyDisk};
use strongroom_storage_pool::{ErrorKind, FlattenVolume, OpContext, PoolError, Volume};
use strongroom_types::DiskFormat;

use crate::errand::{Base, Errand, Purpose};
use crate::kind::Kind;
use crate::template::{is_template, template_on};
use crate::{BlockPool, BlockStorage, Stage};

impl<S: BlockStorage> BlockPool<S> {
    /// Work on the disk of a volume that is whole, on the template that it lies on.
    ///
    /// A disk whose label names a template may stand alone: whoever flattened it was stopped before the label said so.
    pub(crate) fn on_disk<T>(
        &self,
        cx: &OpContext<'_>,
        purpose: Purpose<'_>,
        need: Need,
        work: impl FnOnce(&mut Errand<'_>) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        let kind = Kind::of(&purpose.provided.label);
        let need = match purpose.provided.label.is_overlay() {
            true => kind.need_as_overlay(need),
            false => need,
        };
        self.on_host(cx, purpose, need, |errand| {
            errand.base = self.base_of(cx, purpose, errand)?;
            if errand.base.is_some() && self.look(errand, purpose)?.base.is_none() {
                errand.base = None;
            }
            work(errand)
        })
    }

    /// The template that a volume was made on, by its label, on the host of the errand.
    ///
    /// Its device stays there until the template is forgotten: who else reads it on that host is not known here, and nobody writes to
    /// it.
    pub(crate) fn base_of(
        &self,
        cx: &OpContext<'_>,
        purpose: Purpose<'_>,
        errand: &Errand<'_>,
    ) -> Result<Option<Base>, PoolError> {
        let (operation, label) = (purpose.operation, &purpose.provided.label);
        if !label.is_overlay() {
            return Ok(None);
        }
        let failed = self.failed(operation);
        let devices = self.storage.volumes(cx.call).map_err(&failed)?;
        for device in devices.iter().filter(|device| is_template(device)) {
            let (Some(template), Some(kept)) = (template_on(device), self.find(cx, operation, device)?)
            else {
                continue;
            };
            if kept.label.stage == Stage::Ready && label.lies_on(&kept.label) {
                let handed = self
                    .storage
                    .hand_over(cx.call, device, &errand.host)
                    .map_err(&failed)?;
                let there = errand.with_device(handed)?;
                let image = BaseImage::new(&there.device.path, DiskFormat::Qcow2);
                return Ok(Some(Base { template, image }));
            }
        }
        let message = format!(
            "the template that volume {} lies on is not in the storage; put its device back",
            purpose.volume
        );
        Err(self.error(ErrorKind::Io, operation, &message))
    }

    /// Copies into a volume what it still reads from its template, and then says so in its label.
    pub(crate) fn flatten_volume(
        &self,
        cx: &OpContext<'_>,
        request: &FlattenVolume<'_>,
    ) -> Result<Volume, PoolError> {
        const FLATTEN: &str = "flatten";
        let id = request.volume;
        let _claim = self.claim(cx, FLATTEN, id)?;
        let provided = self.existing(cx, FLATTEN, id)?;
        let purpose = Purpose::reading(FLATTEN, id, &provided).writing();
        let (kind, label) = (self.same_side(purpose, request.key)?, &provided.label);
        self.on_disk(cx, purpose, kind.need(Need::any()), |errand| {
            let location = kind
                .location(&errand.device, label.guest)
                .map_err(self.unfit(FLATTEN))?;
            let disk = errand.on_base(kind.disk(&location, request.key));
            let before = errand.disk(kind, VerifyDisk::new(disk))?;
            let after = match before.base {
                Some(_) => errand.disk(kind, FlattenDisk::new(disk))?,
                None => before.clone(),
            };
            if after.base.is_some() || after.guest != before.guest {
                let message = format!("{} is not flat, or of another size than before", after.location);
                return Err(errand.error(ErrorKind::Tool, &message));
            }
            if label.is_overlay() {
                self.relabel(cx, purpose, label, &label.alone())?;
            }
            Ok(errand.volume(id, &provided, after))
        })
    }
}

impl Errand<'_> {
    /// The header of a disk, which may lie on the template of this errand and on nothing else.
    pub(crate) fn inspected(&self, kind: Kind, inspect: InspectDisk<'_>) -> Result<DiskFacts, PoolError> {
        let home = self.base.as_ref().and_then(|base| base.image.path.parent());
        let inspect = match home {
            Some(home) => inspect.base_in(Some(home)),
            None => inspect,
        };
        let facts = self.disk(kind, inspect)?;
        if facts.base.is_some() {
            self.lies_right(&facts)?;
        }
        Ok(facts)
    }

    /// Fails unless a disk lies on the template of this errand, or on none if there is none.
    pub(crate) fn lies_right(&self, facts: &DiskFacts) -> Result<(), PoolError> {
        let template = self.base.as_ref().map(|base| &base.image);
        if facts.base.as_ref() == template {
            return Ok(());
        }
        let path = |image: Option<&BaseImage>| {
            image.map_or_else(|| "nothing".to_owned(), |image| image.path.display().to_string())
        };
        let message = format!(
            "{} lies on {} and not on {}",
            facts.location,
            path(facts.base.as_ref()),
            path(template)
        );
        Err(self.error(ErrorKind::WrongDisk, &message))
    }
}
