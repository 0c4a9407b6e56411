//! What QEMU itself has open, and whether that goes through the cipher. What libvirt's description says of a disk it says also where QEMU
//! writes in clear.

use strongroom_endpoint_selector::{EndpointError, ErrorKind};
use strongroom_libvirt::{BlockNode, LiveImage, Machine};
use strongroom_types::{DiskFormat, EncryptionFormat, GuestSize};

use super::session::Session;

/// The block nodes of a machine.
pub(super) struct NodeGraph(Vec<BlockNode>);

/// How QEMU reads an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reads {
    pub(super) encryption: Option<EncryptionFormat>,
    pub(super) guest: GuestSize,
}

impl NodeGraph {
    pub(super) fn of(session: &Session<'_>, machine: &Machine<'_>) -> Result<Self, EndpointError> {
        machine
            .block_nodes(session.call)
            .map(Self)
            .map_err(|e| session.failed(e))
    }

    /// How QEMU reads this image: by the node that libvirt names for it, or by that of the file alone, as plain raw images are read.
    pub(super) fn reads(&self, session: &Session<'_>, image: &LiveImage) -> Result<Reads, EndpointError> {
        let named = |name: Option<String>| self.0.iter().find(|node| Some(&node.name) == name.as_ref());
        let nodes = named(image.format_node()).or_else(|| named(image.storage_node()));
        let path = image.source.as_ref().map(|source| source.path().display());
        let path = path.map_or("a disk without a file".to_owned(), |path| path.to_string());
        let node = nodes.ok_or_else(|| {
            let message = format!("QEMU has no node for {path}, which libvirt says it has open");
            session.error(ErrorKind::WrongDisk, message)
        })?;
        let encrypted = match node.driver.as_str() {
            "luks" => true,
            "qcow2" => node.encrypted,
            _ => false,
        };
        let guest = GuestSize::new(node.virtual_size).map_err(|e| {
            let message = format!("QEMU says of {path} that it has {} bytes: {e}", node.virtual_size);
            session.error(ErrorKind::Tool, message)
        })?;
        Ok(Reads {
            encryption: encrypted.then_some(EncryptionFormat::Luks1),
            guest,
        })
    }

    /// Fails unless QEMU reads the image in this way.
    pub(super) fn expect(
        &self,
        session: &Session<'_>,
        image: &LiveImage,
        expected: Reads,
    ) -> Result<(), EndpointError> {
        let reads = self.reads(session, image)?;
        if reads == expected {
            return Ok(());
        }
        let say = |reads: Reads| {
            let side = if reads.encryption.is_some() {
                "through LUKS"
            } else {
                "in clear"
            };
            format!("{} bytes {side}", reads.guest.get())
        };
        let path = image
            .source
            .as_ref()
            .map(|source| source.path().display().to_string());
        let message = format!(
            "QEMU reads {} of {} instead of {}",
            say(reads),
            path.unwrap_or_default(),
            say(expected)
        );
        Err(session.error(ErrorKind::WrongDisk, message))
    }
}

/// libvirt's word for a format.
pub(super) fn format(session: &Session<'_>, image: &LiveImage) -> Result<DiskFormat, EndpointError> {
    image.format.parse().map_err(|_| {
        let message = format!(
            "a disk has the format {:?}, which is not one of ours",
            image.format
        );
        session.error(ErrorKind::WrongDisk, message)
    })
}
