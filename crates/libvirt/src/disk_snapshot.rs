use std::collections::BTreeSet;

use strongroom_types::{Call, DiskFormat, DiskTarget};

use crate::node_check::wrong;
use crate::xml::Element;
use crate::{Document, Image, LibvirtError, LiveDomain, Machine, Refusal};

/// An overlay that a disk goes on in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskOverlay {
    /// Which disk.
    pub target: DiskTarget,
    /// A qcow2 image that is there already, lies on the disk's present image by its header, and has exactly the size that the guest sees.
    pub image: Image,
}

impl DiskOverlay {
    /// This image for this disk.
    #[must_use]
    pub fn new(target: DiskTarget, image: Image) -> Self {
        Self { target, image }
    }
}

/// Snapshots of the disks of a guest that runs.
impl Machine<'_> {
    /// Freezes the content of disks at one instant: each goes on in its overlay, and what was there is not written any more. Disks that are
    /// not named are left out. When one cannot be, none is.
    ///
    /// The overlays are made by the caller, and their secrets are loaded for this call. QEMU would make them as well, with a key derivation
    /// that lets the guest stand still for seconds, and in clear where nobody says otherwise. libvirt is told of **every** disk of the machine:
    /// it makes plain overlays for those that it is not told of.
    ///
    /// `freeze`: the guest's agent flushes and freezes its file systems meanwhile. Without it, the disks are as after a power failure.
    ///
    /// # Errors
    /// [`Refusal::InClear`], [`Refusal::NotQcow2`], [`Refusal::InUse`], [`Refusal::TargetTwice`], [`Refusal::NoDisks`].
    /// [`LibvirtError::NotRunning`]: libvirt makes plain overlays for a machine that is off, whatever it was told. [`LibvirtError::Busy`],
    /// [`LibvirtError::NoDisk`], [`LibvirtError::NoSecret`], [`LibvirtError::WrongKey`] and the like, [`LibvirtError::Unsupported`] to
    /// freeze without an agent, and as [`Connection::run`](crate::Connection::run). Then all disks are as they were, and QEMU has none of the
    /// overlays open, unless the call was interrupted. [`LibvirtError::WrongNode`] when the disks are not as they should be afterwards.
    pub fn snapshot_disks(
        &self,
        call: &Call,
        overlays: &[DiskOverlay],
        freeze: bool,
    ) -> Result<(), LibvirtError> {
        let domain = self.check_overlays(call, overlays)?;
        let document = Document::new(&snapshot(&domain, overlays)?)?;
        let mut create = self
            .command("snapshot-create")
            .document("--xmlfile", &document)
            .word("--disk-only")
            .word("--atomic")
            .word("--no-metadata")
            .word("--reuse-external");
        if freeze {
            create = create.word("--quiesce");
        }
        let before = self.before(call)?;
        self.connection
            .run(call, &create)
            .map_err(|error| self.swept(&before, error))?;
        self.check_snapshot(call, &domain, overlays)
    }

    pub(crate) fn check_overlays(
        &self,
        call: &Call,
        overlays: &[DiskOverlay],
    ) -> Result<LiveDomain, LibvirtError> {
        const ACTION: &str = "snapshot-create";
        if overlays.is_empty() {
            return Err(Refusal::NoDisks.into());
        }
        self.alive(call, ACTION)?;
        let mut targets = BTreeSet::new();
        for DiskOverlay { target, image } in overlays {
            if !targets.insert(target.as_str()) {
                return Err(Refusal::TargetTwice(target.to_string()).into());
            }
            if image.format() != DiskFormat::Qcow2 {
                return Err(Refusal::NotQcow2(target.clone()).into());
            }
            if self.idle_disk(call, ACTION, target)?.is_encrypted() && image.secret().is_none() {
                return Err(Refusal::InClear {
                    target: target.clone(),
                    what: "its overlay",
                    instead: "",
                }
                .into());
            }
        }
        let domain = self.describe(call)?;
        domain.refuse_used(overlays.iter().map(|overlay| &overlay.image))?;
        Ok(domain)
    }

    /// Every disk is where it should be: those that were named in their overlays, the others where they were.
    pub(crate) fn check_snapshot(
        &self,
        call: &Call,
        before: &LiveDomain,
        overlays: &[DiskOverlay],
    ) -> Result<(), LibvirtError> {
        let now = self.describe(call)?;
        for disk in &now.disks {
            let old = before.disk(&disk.target);
            let overlay = overlays.iter().find(|overlay| overlay.target == disk.target);
            match (overlay, old) {
                (Some(overlay), Some(old)) => {
                    self.check_image(call, &disk.target, &disk.image, &overlay.image)?;
                    let below = disk.backing.first().and_then(|image| image.source.as_ref());
                    if below != old.image.source.as_ref() {
                        return Err(wrong(&disk.target, format!("its overlay lies on {below:?}")));
                    }
                }
                (_, Some(old)) if old.image.source == disk.image.source => {}
                _ => {
                    let problem = format!(
                        "it went on in {:?} unasked, where it may be in clear",
                        disk.image.source
                    );
                    return Err(wrong(&disk.target, problem));
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn snapshot(domain: &LiveDomain, overlays: &[DiskOverlay]) -> Result<Element, Refusal> {
    let mut disks = Element::new("disks");
    for target in &domain.targets {
        let disk = Element::new("disk").with("name", target.as_str());
        let overlay = overlays
            .iter()
            .find(|overlay| overlay.target.as_str() == target.as_str());
        disks = disks.holding(match overlay {
            None => disk.with("snapshot", "no"),
            Some(DiskOverlay { image, .. }) => disk
                .with("snapshot", "external")
                .with("type", image.source().kind())
                .holding(Element::new("driver").with("type", image.format_word()))
                .holding(image.place("source")?),
        });
    }
    Ok(Element::new("domainsnapshot").holding(disks))
}
