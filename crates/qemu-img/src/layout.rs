use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use strongroom_secret::SecretFile;

use crate::command::CommandLine;
use crate::location::absolute;
use crate::node::Node;
use crate::option_list::OptionList;
use crate::{
    Encrypted, Image, ImageFormat, Location, LuksOptions, Plain, Preallocation, Protects, Qcow2Options,
    Refusal, Side,
};

/// What a new image is to be: its format with all options, and its key.
///
/// `S` says on which side of the cipher its content will lie; only the constructors that take a key make an encrypted one.
#[derive(Debug, Clone)]
pub struct Layout<'k, S: Side> {
    qcow2: Option<Qcow2Options>,
    luks: Option<(&'k SecretFile, LuksOptions)>,
    preallocation: Option<Preallocation>,
    side: PhantomData<S>,
}

impl Layout<'_, Plain> {
    /// Sector after sector, in clear.
    #[must_use]
    pub fn raw() -> Self {
        Self {
            qcow2: None,
            luks: None,
            preallocation: None,
            side: PhantomData,
        }
    }

    /// qcow2 in clear.
    #[must_use]
    pub fn qcow2(options: Qcow2Options) -> Self {
        Self {
            qcow2: Some(options),
            luks: None,
            preallocation: None,
            side: PhantomData,
        }
    }
}

impl<'k> Layout<'k, Encrypted> {
    /// Sector after sector behind a LUKS1 header. QEMU 10.0.2 makes it 2,068,480 bytes long with AES-256, and
    /// 1,052,672 bytes with AES-128; the file is longer than the guest's disk by that much. What is never written reads as
    /// noise.
    #[must_use]
    pub fn luks(key: &'k SecretFile, options: LuksOptions) -> Self {
        Self {
            qcow2: None,
            luks: Some((key, options)),
            preallocation: None,
            side: PhantomData,
        }
    }

    /// qcow2 with a LUKS1 header inside. Content is encrypted, tables are not; what is never written reads as zeros.
    #[must_use]
    pub fn qcow2_luks(key: &'k SecretFile, options: Qcow2Options, encryption: LuksOptions) -> Self {
        Self {
            qcow2: Some(options),
            luks: Some((key, encryption)),
            preallocation: None,
            side: PhantomData,
        }
    }
}

impl<'k, S: Side> Layout<'k, S> {
    /// The same with space taken at once.
    #[must_use]
    pub fn preallocation(mut self, preallocation: Preallocation) -> Self {
        self.preallocation = Some(preallocation);
        self
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> ImageFormat {
        match (&self.qcow2, &self.luks) {
            (Some(_), _) => ImageFormat::Qcow2,
            (None, Some(_)) => ImageFormat::Luks,
            (None, None) => ImageFormat::Raw,
        }
    }

    /// Says the options as `-o`, if there are any, and the key.
    pub(crate) fn write(&self, line: &mut CommandLine<'k>) -> Result<(), Refusal> {
        let mut list = OptionList::default();
        if let Some(options) = self.qcow2 {
            options.write(&mut list)?;
        } else if self.preallocation == Some(Preallocation::Metadata) {
            let problem = format!("metadata needs tables, and {} has none", self.format());
            return Err(Refusal::Option {
                option: "preallocation",
                problem,
            });
        }
        if let Some(preallocation) = self.preallocation {
            list.push("preallocation", preallocation.as_str());
        }
        if let Some((key, options)) = self.luks {
            let id = line.secrets.add(key);
            if self.qcow2.is_some() {
                list.push("encrypt.format", "luks");
                options.write(&mut list, "encrypt.", &id);
            } else {
                options.write(&mut list, "", &id);
            }
        }
        if !list.is_empty() {
            line.pair("-o", list.into_argument());
        }
        Ok(())
    }
}

/// An image that does not exist yet: a path where nothing is, a [`Layout`], and for an overlay its base.
///
/// QEMU overwrites what is at that path, and deletes it when it fails. [`QemuImg`](crate::QemuImg) therefore refuses a path
/// where something is, by looking before; nothing hinders another process from putting something there in between, and
/// a killed run leaves an empty or incomplete file behind. Make images under a name of your own in a directory of your
/// own, sync them, and only then give them their name without replacing another.
#[derive(Debug, Clone)]
pub struct NewImage<'k, S: Side> {
    pub(crate) path: PathBuf,
    pub(crate) layout: Layout<'k, S>,
    pub(crate) base: Option<Node<'k>>,
}

impl<'k, S: Side> NewImage<'k, S> {
    /// An image at this path, which is made absolute at once.
    pub fn new(path: impl AsRef<Path>, layout: Layout<'k, S>) -> Self {
        Self {
            path: absolute(path.as_ref()),
            layout,
            base: None,
        }
    }

    /// The same as an overlay over this base.
    ///
    /// An overlay over an encrypted base must be encrypted itself: QEMU accepts a plain one without a word, and from
    /// then on the guest writes in clear. An encrypted overlay over a plain base is fine: the base stays as it is, and
    /// what is written is encrypted.
    #[must_use]
    pub fn backed_by<Base: Side>(mut self, base: &Image<'k, Base>) -> Self
    where
        S: Protects<Base>,
    {
        self.base = Some(base.node.clone());
        self
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The image that it will be.
    #[must_use]
    pub fn image(&self) -> Image<'k, S> {
        let key = self.layout.luks.map(|(key, _)| key);
        let mut node = Node::new(self.layout.format(), Location::File(self.path.clone()), key);
        node.base = self.base.clone().map(Box::new);
        Image::from_node(node)
    }
}
