use strongroom_types::{ByteSize, DiskFormat, DiskTarget};

use crate::{Image, Refusal, Uri};

/// What becomes of the disks of a machine that moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigratedDisks {
    /// Both hosts reach them under the same paths, and they have the same keys.
    Shared,
    /// Their content is copied into images that are on the other host already: of every disk that the guest writes.
    Copied(Vec<Arrival>),
}

/// A disk that is copied, as the other host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// Which disk.
    pub target: DiskTarget,
    /// Its image there, in exactly the size that the guest sees, which lies on nothing. Its key may be another.
    pub image: Image,
    /// How long its file or device is there, header included. A raw LUKS disk needs it.
    pub length: Option<ByteSize>,
}

impl Arrival {
    /// This image for this disk.
    #[must_use]
    pub fn new(target: DiskTarget, image: Image) -> Self {
        Self {
            target,
            image,
            length: None,
        }
    }

    /// The same in a file or device of this length.
    #[must_use]
    pub fn of_length(mut self, length: ByteSize) -> Self {
        self.length = Some(length);
        self
    }

    pub(crate) fn is_raw_luks(&self) -> bool {
        self.image.format() == DiskFormat::Raw && self.image.secret().is_some()
    }
}

/// The move of a running machine to another host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// The other host's libvirt, as this host's libvirt reaches it.
    pub to: Uri,
    /// The name in the other host's certificate, where it is not the one by which that host calls itself.
    pub certificate_name: Option<String>,
    /// What becomes of its disks.
    pub disks: MigratedDisks,
    /// How much is sent at most, in MiB a second, of memory and of each disk; as much as goes when it is not said.
    pub rate: Option<u32>,
}

impl Migration {
    /// To the libvirt at this URI, as fast as it goes.
    #[must_use]
    pub fn new(to: Uri, disks: MigratedDisks) -> Self {
        Self {
            to,
            certificate_name: None,
            disks,
            rate: None,
        }
    }

    /// The same at most this fast, in MiB a second.
    #[must_use]
    pub fn with_rate(mut self, rate: u32) -> Self {
        self.rate = Some(rate);
        self
    }

    /// The same with this name in the other host's certificate.
    #[must_use]
    pub fn named(mut self, certificate_name: impl Into<String>) -> Self {
        self.certificate_name = Some(certificate_name.into());
        self
    }

    /// The description of the machine goes over the connection of the two libvirts, and everything else is as safe as its end is known.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let uri = self.to.as_str();
        let way = ["qemu+tls://", "qemu+ssh://", "qemu+libssh://", "qemu+libssh2://"];
        let rest = way.iter().find_map(|way| uri.strip_prefix(way));
        let host = rest
            .and_then(|rest| rest.split(['/', '?']).next())
            .unwrap_or_default();
        if host.is_empty() || uri.contains("no_verify") || uri.contains("no_sanity") {
            return Err(Refusal::OpenWay(uri.to_owned()));
        }
        if let Some(name) = &self.certificate_name {
            let known = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
            if name.is_empty() || name.starts_with('-') || !name.bytes().all(known) {
                return Err(Refusal::HostName(name.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_encrypted_and_checked_and_leads_to_another_host() {
        let check = |uri: &str| Migration::new(uri.parse().unwrap(), MigratedDisks::Shared).check();
        for uri in [
            "qemu+tls://h2/system",
            "qemu+tls://h2:16514/system?pkipath=/p",
            "qemu+ssh://u@h2/system",
            "qemu+libssh2://h2/system",
        ] {
            assert_eq!(check(uri), Ok(()));
        }
        for uri in [
            "qemu:///system",
            "qemu+tcp://h2/system",
            "qemu://h2/system?no_verify=1",
            "qemu+tls://h2/system?no_verify=1",
            "qemu+ssh:///system",
            "qemu+tls:///system?pkipath=/p",
            "qemu+unix:///system?socket=/s",
        ] {
            assert_eq!(check(uri), Err(Refusal::OpenWay(uri.to_owned())));
        }
    }

    #[test]
    fn a_certificate_has_the_name_of_a_host() {
        let check = |name: &str| {
            let to = "qemu+tls://h2/system".parse().unwrap();
            Migration::new(to, MigratedDisks::Shared).named(name).check()
        };
        for name in ["h2", "h2.example.org", "10.77.0.2", "fd00::2"] {
            assert_eq!(check(name), Ok(()));
        }
        for name in ["", "--unsafe", "a b", "é"] {
            assert_eq!(check(name), Err(Refusal::HostName(name.to_owned())));
        }
    }
}
