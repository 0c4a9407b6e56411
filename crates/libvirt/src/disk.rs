use std::fmt;
use std::str::FromStr;

use strongroom_types::DiskTarget;

use crate::xml::Element;
use crate::{Image, Refusal};

/// What a disk says its serial number is: 1 to 20 characters of `a-z`, `A-Z`, `0-9`, `.`, `_` and `-`. virtio has room for 20 bytes,
/// and QEMU cuts what is longer without a word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DiskSerial(String);

impl DiskSerial {
    /// The number as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DiskSerial {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if (1..=20).contains(&text.len()) && text.bytes().all(known) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::Serial(text.to_owned()))
        }
    }
}

impl fmt::Display for DiskSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How the host's page cache takes part. QEMU encrypts above it: what is in it is what is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cache {
    /// Not at all (`O_DIRECT`), which the file system has to know.
    None,
    /// For reading and writing; a flush of the guest reaches the storage.
    Writeback,
    /// For reading; every write reaches the storage.
    Writethrough,
}

impl Cache {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Writeback => "writeback",
            Self::Writethrough => "writethrough",
        }
    }
}

/// A virtio disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DomainDisk {
    /// Under which name libvirt knows it.
    pub target: DiskTarget,
    /// The image that the guest reads and writes.
    pub image: Image,
    /// What the image lies on, from the next below to the lowest, each with its own key. Nothing else is below: what a header says is
    /// not believed.
    pub backing: Vec<Image>,
    /// Its serial number.
    pub serial: Option<DiskSerial>,
    /// The host's cache; what QEMU takes by itself when it is not said.
    pub cache: Option<Cache>,
    /// Whether what the guest discards is given back to the storage. QEMU ignores it on raw LUKS.
    pub discard: bool,
    /// Whether the guest may only read.
    pub read_only: bool,
}

impl DomainDisk {
    /// A disk that the guest reads and writes, that lies on nothing, and of which nothing is given back.
    #[must_use]
    pub fn new(target: DiskTarget, image: Image) -> Self {
        Self {
            target,
            image,
            backing: Vec::new(),
            serial: None,
            cache: None,
            discard: false,
            read_only: false,
        }
    }

    /// The same on these images, from the next below to the lowest.
    #[must_use]
    pub fn on(mut self, backing: impl IntoIterator<Item = Image>) -> Self {
        self.backing.extend(backing);
        self
    }

    /// The same with this serial number.
    #[must_use]
    pub fn with_serial(mut self, serial: DiskSerial) -> Self {
        self.serial = Some(serial);
        self
    }

    /// The same with this use of the host's cache.
    #[must_use]
    pub fn with_cache(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// The same, and what the guest discards is given back, or not.
    #[must_use]
    pub fn with_discard(mut self, discard: bool) -> Self {
        self.discard = discard;
        self
    }

    /// The same, for reading only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// As libvirt's domain format has it, for a domain, `attach-device` and copies.
    ///
    /// The lowest image is followed by an empty `backingStore`, without which libvirt would follow what the image's header says.
    ///
    /// # Errors
    /// [`Refusal::RelativePath`], [`Refusal::NotUtf8`].
    pub fn to_element(&self) -> Result<Element, Refusal> {
        let mut driver = Element::new("driver")
            .with("name", "qemu")
            .with("type", self.image.format_word());
        if let Some(cache) = self.cache {
            driver = driver.with("cache", cache.as_str());
        }
        if self.discard {
            driver = driver.with("discard", "unmap");
        }
        let target = Element::new("target")
            .with("dev", self.target.as_str())
            .with("bus", "virtio");
        let mut disk = Element::new("disk")
            .with("type", self.image.source().kind())
            .with("device", "disk")
            .holding(driver)
            .holding(self.image.place("source")?)
            .holding(chain(&self.backing)?)
            .holding(target);
        if let Some(serial) = &self.serial {
            disk = disk.holding(Element::new("serial").saying(serial.as_str()));
        }
        if self.read_only {
            disk = disk.holding(Element::new("readonly"));
        }
        Ok(disk)
    }
}

/// The images below one another as nested elements, with an end.
pub(crate) fn chain(images: &[Image]) -> Result<Element, Refusal> {
    images
        .iter()
        .rev()
        .try_fold(Element::new("backingStore"), |below, image| {
            Ok(Element::new("backingStore")
                .with("type", image.source().kind())
                .holding(Element::new("format").with("type", image.format_word()))
                .holding(image.place("source")?)
                .holding(below))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_fits_virtio_or_is_refused() {
        for text in ["vol-1", "a", "x.Y_9", &"v".repeat(20)] {
            assert_eq!(text.parse::<DiskSerial>().unwrap().as_str(), text);
        }
        for text in ["", &"v".repeat(21), "a b", "a'b", "é", "a\n", "<a>"] {
            assert_eq!(text.parse::<DiskSerial>(), Err(Refusal::Serial(text.to_owned())));
        }
    }
}
