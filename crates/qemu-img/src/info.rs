use serde::Deserialize;
use strongroom_exec::{CommandSpec, Completed, Program};
use strongroom_types::ByteSize;

use crate::answer::parsed;
use crate::command::{Command, CommandLine, Steps};
use crate::image_info::{BackingInfo, BitmapInfo, EncryptionInfo, ImageInfo, SnapshotInfo};
use crate::node::Node;
use crate::option_list::OptionList;
use crate::{Image, ImageFormat, Location, Operation, QemuImgError, Refusal, Side};

/// `qemu-img info`: reads the header of one image, without its key and without opening what lies below it.
///
/// It answers with a wrong key as with the right one, and says nothing about whether a key opens the image: that is what
/// [`QemuImg::prove_key`](crate::QemuImg::prove_key) is for. It works on images in use; what it says of one that is being
/// written may be inconsistent.
///
/// A file that the header names for its data is opened. Images from outside belong through a reader of your own first.
#[derive(Debug, Clone)]
pub struct Info<'k> {
    node: Node<'k>,
}

impl<'k> Info<'k> {
    /// Of this image.
    #[must_use]
    pub fn of<S: Side>(image: &Image<'k, S>) -> Self {
        Self {
            node: image.node.clone(),
        }
    }

    /// Of an image of this format at this place.
    #[must_use]
    pub fn at(format: ImageFormat, location: impl Into<Location>) -> Self {
        Self {
            node: Node::new(format, location.into(), None),
        }
    }

    pub(crate) fn of_node(node: &Node<'k>) -> Self {
        Self { node: node.clone() }
    }
}

impl<'k> Steps<'k> for Info<'k> {}

impl<'k> Command<'k> for Info<'k> {
    type Answer = ImageInfo;

    fn operation(&self) -> Operation {
        Operation::Info
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let mut line = CommandLine::new(Operation::Info);
        line.option("--output=json");
        line.option("-U");
        if self.node.by_flags {
            line.image(&self.node)?;
        } else {
            let mut list = OptionList::default();
            self.node.write_place(&mut list, "")?;
            line.option("--image-opts");
            line.operand(list.into_argument());
        }
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<ImageInfo, QemuImgError> {
        let operation = Operation::Info;
        parsed::<Printed>(operation, completed)?
            .into_info()
            .map_err(|error| QemuImgError::Output {
                operation,
                problem: error.to_string(),
            })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Printed {
    virtual_size: u64,
    actual_size: Option<u64>,
    format: String,
    #[serde(default)]
    encrypted: bool,
    #[serde(default)]
    dirty_flag: bool,
    cluster_size: Option<u64>,
    backing_filename: Option<String>,
    full_backing_filename: Option<String>,
    backing_filename_format: Option<String>,
    #[serde(default)]
    snapshots: Vec<SnapshotInfo>,
    format_specific: Option<Specific>,
}

/// The part that depends on the format, read only once the format is known: a LUKS part that cannot be read must not
/// pass for that of a format without encryption.
#[derive(Debug, Deserialize)]
struct Specific {
    #[serde(rename = "type")]
    format: String,
    data: serde_json::Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Qcow2 {
    compat: Option<String>,
    data_file: Option<String>,
    #[serde(default)]
    corrupt: bool,
    #[serde(default)]
    bitmaps: Vec<BitmapInfo>,
    encrypt: Option<Encrypt>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "format", rename_all = "lowercase")]
enum Encrypt {
    Luks(EncryptionInfo),
    Aes,
}

impl Printed {
    fn into_info(self) -> Result<ImageInfo, serde_json::Error> {
        let mut qcow2 = Qcow2::default();
        let mut encryption = None;
        if let Some(specific) = self.format_specific {
            match specific.format.as_str() {
                "luks" => encryption = Some(serde_json::from_value(specific.data)?),
                "qcow2" => qcow2 = serde_json::from_value(specific.data)?,
                _ => {}
            }
        }
        if let Some(Encrypt::Luks(luks)) = qcow2.encrypt {
            encryption = Some(luks);
        }
        Ok(ImageInfo {
            virtual_size: self.virtual_size,
            actual_size: self.actual_size.map(ByteSize::bytes),
            format: self.format,
            encrypted: self.encrypted,
            encryption,
            backing: self.backing_filename.map(|name| BackingInfo {
                name,
                full_name: self.full_backing_filename,
                format: self.backing_filename_format,
            }),
            data_file: qcow2.data_file,
            cluster_size: self.cluster_size,
            compat: qcow2.compat,
            corrupt: qcow2.corrupt,
            dirty: self.dirty_flag,
            snapshots: self.snapshots,
            bitmaps: qcow2.bitmaps,
        })
    }
}
