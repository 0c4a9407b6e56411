use std::path::PathBuf;

use clap::Subcommand;
use strongroom_control_plane::LARGEST_TEMPLATE;
use strongroom_types::{ByteSize, DiskFormat, TemplateId};

#[derive(Debug, Subcommand)]
pub(crate) enum Template {
    /// Adds a plain image as a template, after reading it: its size and the SHA-256 of its content are recorded. Every volume that is made
    /// from it gets this content, or is not made. A signal or --timeout ends it and leaves nothing.
    Add {
        /// Its name. What is under a name never changes: another content gets another name.
        name: TemplateId,
        /// The image. It stays where it is, and has to stay for as long as volumes are made from it.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// The image's format. It is never guessed; without it the file's ending says.
        #[arg(long, value_name = "FORMAT")]
        format: Option<DiskFormat>,
        /// The most that the guest of the image may see. It is read from end to end, holes included: 1 TiB takes about ten minutes.
        #[arg(long, value_name = "SIZE", default_value_t = LARGEST_TEMPLATE)]
        largest: ByteSize,
        /// A raw image that begins as a qcow2 or another image file does is meant as it is.
        #[arg(long)]
        opaque: bool,
    },
    /// Lists the templates.
    List,
    /// Removes a template and the copies that pools keep of it. Refused while a volume reads from it.
    Remove {
        /// Which template.
        name: TemplateId,
    },
}
