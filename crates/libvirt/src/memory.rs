use std::time::Duration;

use strongroom_types::{Call, DiskTarget};

use crate::disk_job::abandoning;
use crate::disk_snapshot::snapshot;
use crate::rehoming::{Place, refuse_in_clear, rehomed};
use crate::xml::Element;
use crate::{
    DiskOverlay, Document, DomainDisk, EncryptedMemoryFile, LibvirtError, LiveDomain, Machine, Refusal, Virsh,
};

/// How long the memory of the largest guest may take. A call's deadline comes first.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// The memory of a guest, in files that are encrypted. libvirt writes it in clear, with whatever the guest has read from its
/// encrypted disks: so the file is always an [`EncryptedMemoryFile`].
impl Machine<'_> {
    /// Writes the memory of a machine and stops it. [`restore`](Self::restore) lets it go on from there. No key is needed.
    ///
    /// # Errors
    /// [`LibvirtError::NotRunning`], [`LibvirtError::Busy`] when something works on one of its disks, [`LibvirtError::NoSpace`] when
    /// the file is too small, [`LibvirtError::Memory`], and as [`Connection::run`](crate::Connection::run). Then the guest goes on, also
    /// after [`LibvirtError::Interrupted`], unless libvirt cannot be reached; and what is in the file is of no use.
    pub fn save(&self, call: &Call, memory: &EncryptedMemoryFile) -> Result<(), LibvirtError> {
        const ACTION: &str = "save";
        self.idle(call, ACTION)?;
        let save = self
            .command(ACTION)
            .option("--file", memory.device())
            .within(LONG);
        match self.connection.run(call, &save) {
            Ok(_) => {}
            // It was done in that moment.
            Err(LibvirtError::Interrupted { .. }) if self.was_done_anyway() => {
                memory.sync()?;
                return self.saved(&abandoning(), memory).map(drop);
            }
            Err(error) => return Err(error),
        }
        memory.sync()?;
        self.saved(call, memory).map(drop)
    }

    /// Freezes a running guest at one instant, and lets it go on: its memory in the file, its disks in overlays as
    /// [`snapshot_disks`](Self::snapshot_disks) has it. **Every** disk that the guest writes is named, for its memory fits no other content.
    ///
    /// To go back to that instant: end the machine, make a new overlay for each of the images that are not written any more, and
    /// [restore](Self::restore) it on these. libvirt's own revert makes plain overlays.
    ///
    /// # Errors
    /// [`Refusal::Unnamed`], and as for [`snapshot_disks`](Self::snapshot_disks) and [`save`](Self::save). Then the guest goes on with all disks as they were, unless the call
    /// was interrupted: look at its disks then. What is in the file is of no use.
    pub fn snapshot_with_memory(
        &self,
        call: &Call,
        memory: &EncryptedMemoryFile,
        overlays: &[DiskOverlay],
    ) -> Result<(), LibvirtError> {
        let domain = self.check_overlays(call, overlays)?;
        let written = domain.disks.iter().filter(|disk| !disk.read_only);
        refuse_unnamed(
            written.map(|disk| &disk.target),
            |target| overlays.iter().any(|overlay| overlay.target == *target),
            "the guest's memory fits its content of the same instant only",
        )?;
        let place = Element::new("memory")
            .with("snapshot", "external")
            .with("file", crate::image::path(memory.device())?);
        let document = Document::new(&snapshot(&domain, overlays)?.holding(place))?;
        let create = self
            .command("snapshot-create")
            .document("--xmlfile", &document)
            .word("--live")
            .word("--atomic")
            .word("--no-metadata")
            .word("--reuse-external")
            .within(LONG);
        let before = self.before(call)?;
        match self.connection.run(call, &create) {
            Ok(_) => {}
            Err(error @ LibvirtError::Interrupted { .. }) => {
                let _the_first_error_counts = self.abandon_domain_job(&abandoning());
                return Err(error);
            }
            Err(error) => return Err(self.swept(&before, error)),
        }
        self.check_snapshot(call, &domain, overlays)?;
        memory.sync()?;
        self.saved(call, memory).map(drop)
    }

    /// Lets a saved machine go on, on these disks: each as it was when the memory was saved, or an overlay on that. All disks that the guest
    /// writes are named, with all that they lie on. Their secrets are loaded for this call. The file with the memory stays as it is.
    ///
    /// `paused`: the guest does not run before it is resumed.
    ///
    /// # Errors
    /// [`LibvirtError::Output`] when the file has no whole memory or that of another machine. [`LibvirtError::NoDisk`], [`Refusal::Unnamed`], [`Refusal::InClear`];
    /// [`LibvirtError::AlreadyExists`] when the machine runs; and as for [`start`](crate::Connection::start). [`LibvirtError::WrongNode`]
    /// when the disks are not as they should be. Then nothing of it runs, unless the call was interrupted.
    pub fn restore(
        &self,
        call: &Call,
        memory: &EncryptedMemoryFile,
        disks: &[DomainDisk],
        paused: bool,
    ) -> Result<(), LibvirtError> {
        const ACTION: &str = "restore";
        let (description, domain) = self.saved(call, memory)?;
        for disk in disks {
            if domain.disk(&disk.target).is_none() {
                return Err(LibvirtError::NoDisk {
                    action: ACTION,
                    message: format!("no virtio disk was {}", disk.target),
                });
            }
        }
        refuse_unnamed(
            domain
                .disks
                .iter()
                .filter(|disk| !disk.read_only)
                .map(|disk| &disk.target),
            |target| disks.iter().any(|disk| disk.target == *target),
            "where it was when the memory was saved may be what others depend on",
        )?;
        let places: Vec<Place<'_>> = disks
            .iter()
            .map(|disk| Place {
                target: &disk.target,
                image: &disk.image,
                backing: &disk.backing,
                length: None,
            })
            .collect();
        refuse_in_clear(&domain, &places)?;
        let document = Document::new(&rehomed(description, &places)?)?;
        let restore = Virsh::new(ACTION)
            .option("--file", memory.device())
            .document("--xml", &document)
            .word(if paused { "--paused" } else { "--running" })
            .within(LONG);
        self.connection.run(call, &restore)?;
        self.check_places(call, &places).inspect_err(|_| {
            let _the_first_error_counts = self.destroy(&abandoning());
        })
    }

    /// The description of this machine that libvirt put before its memory. It is there when all of the memory is.
    fn saved(
        &self,
        call: &Call,
        memory: &EncryptedMemoryFile,
    ) -> Result<(Element, LiveDomain), LibvirtError> {
        let ask = Virsh::new("save-image-dumpxml")
            .option("--file", memory.device())
            .word("--security-info");
        let xml = self.connection.run(call, &ask)?;
        let unreadable = |problem: String| ask.unreadable(problem);
        let element = Element::parse(&xml).map_err(|error| unreadable(error.to_string()))?;
        let domain = LiveDomain::parse(&xml).map_err(|error| unreadable(error.to_string()))?;
        if domain.uuid != self.uuid() {
            return Err(unreadable(format!(
                "it is the memory of the machine {}",
                domain.uuid
            )));
        }
        Ok((element, domain))
    }

    /// It has a QEMU, and nothing works on its disks.
    pub(crate) fn idle(&self, call: &Call, action: &'static str) -> Result<LiveDomain, LibvirtError> {
        self.alive(call, action)?;
        let domain = self.describe(call)?;
        for disk in &domain.disks {
            self.idle_disk(call, action, &disk.target)?;
        }
        Ok(domain)
    }

    pub(crate) fn check_places(&self, call: &Call, places: &[Place<'_>]) -> Result<(), LibvirtError> {
        for place in places {
            let disk = self.disk(call, "dumpxml", place.target)?;
            self.check_image(call, place.target, &disk.image, place.image)?;
        }
        Ok(())
    }
}

pub(crate) fn refuse_unnamed<'t>(
    targets: impl IntoIterator<Item = &'t DiskTarget>,
    is_named: impl Fn(&DiskTarget) -> bool,
    why: &'static str,
) -> Result<(), Refusal> {
    let unnamed = targets.into_iter().find(|target| !is_named(target));
    unnamed.map_or(Ok(()), |target| {
        Err(Refusal::Unnamed {
            target: target.clone(),
            why,
        })
    })
}
