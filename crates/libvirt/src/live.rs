use std::path::PathBuf;

use strongroom_types::DiskTarget;
use uuid::Uuid;

use crate::domain::NAMESPACE;
use crate::xml::{Element, XmlError};
use crate::{Image, Refusal, Source};

/// A virtual machine as libvirt describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveDomain {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Whether it has our mark: it was described by [`Domain`](crate::Domain).
    pub ours: bool,
    /// Its virtio disks.
    pub disks: Vec<LiveDisk>,
    /// The targets of all its disks: also of CD-ROM drives and disks on another bus.
    pub targets: Vec<String>,
    /// At which unix socket its first serial port is answered, if at one.
    pub console: Option<PathBuf>,
}

impl LiveDomain {
    /// The disk at this target.
    #[must_use]
    pub fn disk(&self, target: &DiskTarget) -> Option<&LiveDisk> {
        self.disks.iter().find(|disk| disk.target == *target)
    }

    /// New images are nobody's yet.
    pub(crate) fn refuse_used<'i>(&self, new: impl IntoIterator<Item = &'i Image>) -> Result<(), Refusal> {
        let mut known: Vec<&Source> = self
            .disks
            .iter()
            .flat_map(LiveDisk::images)
            .filter_map(|image| image.source.as_ref())
            .collect();
        for image in new {
            if known.iter().any(|source| source.path() == image.source().path()) {
                return Err(Refusal::InUse(image.source().path().to_owned()));
            }
            known.push(image.source());
        }
        Ok(())
    }
}

/// A disk of a virtual machine as libvirt describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveDisk {
    /// Under which name.
    pub target: DiskTarget,
    /// libvirt's name for the device, by which QEMU's `device-removed` speaks of it.
    pub alias: Option<String>,
    /// What the guest reads and writes.
    pub image: LiveImage,
    /// What that lies on, from the next below to the lowest.
    pub backing: Vec<LiveImage>,
    /// The copy that is being made of it.
    pub mirror: Option<Mirror>,
    /// Whether the guest may only read.
    pub read_only: bool,
}

/// An image as libvirt describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveImage {
    /// Where it lies; `None` where that is neither a file nor a block device.
    pub source: Option<Source>,
    /// libvirt's word for its format: `raw`, `qcow2`.
    pub format: String,
    /// How it is opened.
    pub encryption: Option<LiveEncryption>,
    /// The number in the names of its nodes in QEMU: `libvirt-N-format` and `libvirt-N-storage`. Do not guess it: libvirt numbers the last disk first.
    pub index: Option<u32>,
}

impl LiveImage {
    /// QEMU's name of the node whose content the guest sees, when the machine runs.
    #[must_use]
    pub fn format_node(&self) -> Option<String> {
        self.index.map(|index| format!("libvirt-{index}-format"))
    }

    /// QEMU's name of the node that is the file or device, ciphertext and headers, when the machine runs.
    #[must_use]
    pub fn storage_node(&self) -> Option<String> {
        self.index.map(|index| format!("libvirt-{index}-storage"))
    }
}

/// How an image is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveEncryption {
    /// libvirt's word for it: `luks`.
    pub format: String,
    /// Who decrypts: `qemu`.
    pub engine: Option<String>,
    /// The UUID of the secret that opens it.
    pub secret: Option<Uuid>,
}

/// A copy that is being made of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mirror {
    /// libvirt's word for what for: `copy`, `active-commit`.
    pub job: Option<String>,
    /// Where to.
    pub image: LiveImage,
    /// Whether it has all, and every write goes to both.
    pub ready: bool,
}

impl LiveDomain {
    /// Reads what `virsh dumpxml` prints.
    ///
    /// # Errors
    /// [`XmlError`] when it is not the description of a domain.
    pub fn parse(xml: &str) -> Result<Self, XmlError> {
        Self::read(&Element::parse(xml)?)
    }

    fn read(domain: &Element) -> Result<Self, XmlError> {
        let missing = |what: &str| XmlError {
            problem: format!("the domain has no {what}"),
        };
        let name = domain.child("name").ok_or_else(|| missing("name"))?;
        let uuid = domain.child("uuid").ok_or_else(|| missing("uuid"))?;
        let uuid = Uuid::try_parse(uuid.text().trim()).map_err(|_| missing("uuid"))?;
        let devices = domain.child("devices").ok_or_else(|| missing("devices"))?;
        Ok(Self {
            name: name.text().to_owned(),
            uuid,
            ours: is_ours(domain),
            disks: devices.named("disk").filter_map(disk).collect(),
            targets: devices
                .named("disk")
                .filter_map(|disk| disk.child("target")?.attribute("dev").map(str::to_owned))
                .collect(),
            console: devices
                .descend(&["serial", "source"])
                .and_then(|source| source.attribute("path"))
                .filter(|_| devices.child("serial").and_then(|s| s.attribute("type")) == Some("unix"))
                .map(PathBuf::from),
        })
    }
}

fn is_ours(domain: &Element) -> bool {
    domain.child("metadata").is_some_and(|metadata| {
        metadata
            .named("strongroom:machine")
            .any(|mark| mark.attribute("xmlns:strongroom") == Some(NAMESPACE))
    })
}

/// A virtio disk; `None` for CD-ROM drives and disks on another bus, which are not ours.
fn disk(disk: &Element) -> Option<LiveDisk> {
    let target = disk.child("target")?.attribute("dev")?.parse().ok()?;
    let format = |holder: &Element, name: &str| {
        let format = holder.child(name).and_then(|format| format.attribute("type"));
        format.unwrap_or_default().to_owned()
    };
    let mut backing = Vec::new();
    let mut below = disk.child("backingStore");
    while let Some(store) = below.filter(|store| store.child("source").is_some()) {
        backing.push(image(store, format(store, "format")));
        below = store.child("backingStore");
    }
    Some(LiveDisk {
        target,
        alias: disk
            .child("alias")
            .and_then(|alias| alias.attribute("name"))
            .map(str::to_owned),
        image: image(disk, format(disk, "driver")),
        backing,
        mirror: disk.child("mirror").map(|mirror| Mirror {
            job: mirror.attribute("job").map(str::to_owned),
            image: image(mirror, format(mirror, "format")),
            ready: mirror.attribute("ready") == Some("yes"),
        }),
        read_only: disk.child("readonly").is_some(),
    })
}

/// The image that a disk, backing store or mirror holds.
fn image(holder: &Element, format: String) -> LiveImage {
    let source = holder.child("source");
    let path = |name: &str| {
        source
            .and_then(|source| source.attribute(name))
            .map(PathBuf::from)
    };
    let number = |element: Option<&Element>| element?.attribute("index")?.parse().ok();
    LiveImage {
        source: path("file")
            .map(Source::File)
            .or_else(|| path("dev").map(Source::Block)),
        format,
        encryption: source
            .and_then(|source| source.child("encryption"))
            .map(|encryption| LiveEncryption {
                format: encryption.attribute("format").unwrap_or_default().to_owned(),
                engine: encryption.attribute("engine").map(str::to_owned),
                secret: encryption
                    .child("secret")
                    .and_then(|secret| Uuid::try_parse(secret.attribute("uuid")?).ok()),
            }),
        index: number(source).or_else(|| number(Some(holder))),
    }
}
