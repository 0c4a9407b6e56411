use std::marker::PhantomData;

use strongroom_secret::SecretFile;

use crate::node::Node;
use crate::{Encrypted, ImageFormat, Location, Plain, Side};

/// An image that exists: its format, where it lies, its key, and what lies below it.
///
/// `S` says on which side of the cipher its content lies. A raw image has no key: there is no constructor that takes
/// one, since QEMU would leave it unused without a word. Encrypted raw disks are made with [`Image::luks`].
///
/// The description is what counts: QEMU is told the format of every layer and probes nothing. A qcow2 image stands
/// alone unless [`Image::backed_by`] says otherwise; what its header names as backing file is then not opened. Before a
/// command that reads or writes content, [`QemuImg`](crate::QemuImg) compares description and header, and refuses when
/// they differ.
#[derive(Debug, Clone)]
pub struct Image<'k, S: Side> {
    pub(crate) node: Node<'k>,
    side: PhantomData<S>,
}

impl<'k> Image<'k, Plain> {
    /// Sector after sector, in clear.
    #[must_use]
    pub fn raw(location: impl Into<Location>) -> Self {
        Self::from_node(Node::new(ImageFormat::Raw, location.into(), None))
    }

    /// A qcow2 image that is not encrypted.
    #[must_use]
    pub fn qcow2(location: impl Into<Location>) -> Self {
        Self::from_node(Node::new(ImageFormat::Qcow2, location.into(), None))
    }

    /// The same, named with `-f` and the file name instead of `--image-opts`. An image that needs a key has no such
    /// name, and one with a described backing file or [`Image::shared`] is refused when a command is made of it.
    #[must_use]
    pub fn by_flags(mut self) -> Self {
        self.node.by_flags = true;
        self
    }

    /// The same, whatever a raw image begins with. Otherwise one that begins with a LUKS or qcow2 header is refused, since
    /// growing, copying or overwriting an encrypted disk as if it were a plain one destroys it or encrypts it twice. A guest
    /// that encrypts its whole disk by itself, or keeps an image on it, makes such an image rightly.
    #[must_use]
    pub fn opaque(mut self) -> Self {
        self.node.opaque = true;
        self
    }
}

impl<'k> Image<'k, Encrypted> {
    /// Sector after sector behind a LUKS1 header.
    #[must_use]
    pub fn luks(location: impl Into<Location>, key: &'k SecretFile) -> Self {
        Self::from_node(Node::new(ImageFormat::Luks, location.into(), Some(key)))
    }

    /// A qcow2 image with a LUKS1 header inside. One that turns out not to be encrypted is refused by QEMU.
    #[must_use]
    pub fn qcow2_luks(location: impl Into<Location>, key: &'k SecretFile) -> Self {
        Self::from_node(Node::new(ImageFormat::Qcow2, location.into(), Some(key)))
    }
}

impl<'k, S: Side> Image<'k, S> {
    pub(crate) fn from_node(node: Node<'k>) -> Self {
        Self {
            node,
            side: PhantomData,
        }
    }

    /// The same as an overlay over this base, which has its own key and may have a base itself.
    ///
    /// The result is plain only when both are: a plain overlay over an encrypted base is [`Exposed`](crate::Exposed).
    ///
    /// This base is opened, at the place and in the format described here, whatever name the header has for it.
    #[must_use]
    pub fn backed_by<Base: Side>(self, base: Image<'k, Base>) -> Image<'k, S::Over<Base>> {
        let mut node = self.node;
        node.base = Some(Box::new(base.node));
        Image::from_node(node)
    }

    /// The same, opened even while another process writes to it. What is read may then be inconsistent; commands that
    /// write refuse it.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.node.shared = true;
        self
    }

    /// Where it lies.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.node.location
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> ImageFormat {
        self.node.format
    }
}
