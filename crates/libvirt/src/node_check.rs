use strongroom_types::{Call, DiskFormat, DiskTarget};

use crate::{BlockNode, Image, LibvirtError, LiveDisk, LiveImage, Machine};

/// What QEMU really has open, against what it was told.
impl Machine<'_> {
    /// The node whose content the guest sees.
    pub(crate) fn node_of(
        &self,
        call: &Call,
        target: &DiskTarget,
        image: &LiveImage,
    ) -> Result<BlockNode, LibvirtError> {
        let nodes = self.block_nodes(call)?;
        let named = |name: Option<String>| {
            nodes
                .iter()
                .find(|node| Some(&node.name) == name.as_ref())
                .cloned()
        };
        // A plain raw image has no layer above its file or device.
        named(image.format_node())
            .or_else(|| {
                named(image.storage_node()).filter(|_| image.format == "raw" && image.encryption.is_none())
            })
            .ok_or_else(|| {
                wrong(
                    target,
                    format!("QEMU has no node {}", image.format_node().unwrap_or_default()),
                )
            })
    }

    /// The node that is the file or device.
    pub(crate) fn storage_of(
        &self,
        call: &Call,
        target: &DiskTarget,
        image: &LiveImage,
    ) -> Result<BlockNode, LibvirtError> {
        let name = image.storage_node();
        self.node_named(call, target, name)
    }

    fn node_named(
        &self,
        call: &Call,
        target: &DiskTarget,
        name: Option<String>,
    ) -> Result<BlockNode, LibvirtError> {
        let nodes = self.block_nodes(call)?;
        let found = nodes.into_iter().find(|node| Some(&node.name) == name.as_ref());
        found.ok_or_else(|| wrong(target, format!("QEMU has no node {}", name.unwrap_or_default())))
    }

    /// Whether libvirt and QEMU have this image open as it was described: where, in which format, and encrypted when it was said to
    /// be. A layer without decryption where one was asked for would write in clear.
    pub(crate) fn check_image(
        &self,
        call: &Call,
        target: &DiskTarget,
        live: &LiveImage,
        told: &Image,
    ) -> Result<BlockNode, LibvirtError> {
        if live.source.as_ref() != Some(told.source()) {
            return Err(wrong(target, format!("libvirt has it at {:?}", live.source)));
        }
        let secret = live.encryption.as_ref().and_then(|encryption| encryption.secret);
        if secret != told.secret() {
            return Err(wrong(target, "libvirt has it under another key, or none"));
        }
        let node = self.node_of(call, target, live)?;
        let drivers = match (told.format(), told.secret()) {
            (DiskFormat::Raw, Some(_)) => &["luks"][..],
            (DiskFormat::Raw, None) => &["raw", "file", "host_device"],
            (DiskFormat::Qcow2, _) => &["qcow2"],
        };
        if !drivers.contains(&node.driver.as_str()) || node.encrypted != told.secret().is_some() {
            let encrypted = if node.encrypted { "encrypted" } else { "in clear" };
            return Err(wrong(
                target,
                format!("QEMU has it as {} {encrypted}", node.driver),
            ));
        }
        Ok(node)
    }
}

pub(crate) fn wrong(target: &DiskTarget, problem: impl Into<String>) -> LibvirtError {
    LibvirtError::WrongNode {
        target: target.clone(),
        problem: problem.into(),
    }
}

impl LiveDisk {
    /// Whether any of its content lies encrypted: in the image that the guest writes, or in one that it lies on.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        let images = std::iter::once(&self.image).chain(&self.backing);
        images.into_iter().any(|image| image.encryption.is_some())
    }

    /// All its images: what the guest writes, what it lies on, and what it is copied to.
    pub(crate) fn images(&self) -> impl Iterator<Item = &LiveImage> {
        let mirror = self.mirror.as_ref().map(|mirror| &mirror.image);
        std::iter::once(&self.image).chain(&self.backing).chain(mirror)
    }
}
