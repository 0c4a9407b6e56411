use std::path::PathBuf;

use clap::Subcommand;
use strongroom_types::{DiskFormat, TemplateId};

#[derive(Debug, Subcommand)]
pub(crate) enum Template {
    /// Adds a plain image as a template, after reading it: its size and the SHA-256 of its content are recorded.
    Add {
        /// Its name. What is under a name never changes: another content gets another name.
        name: TemplateId,
        /// The image. It stays where it is, and has to stay for as long as volumes are made from it.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// The image's format. It is never guessed; without it the file's ending says.
        #[arg(long, value_name = "FORMAT")]
        format: Option<DiskFormat>,
    },
    /// Lists the templates.
    List,
    /// Removes a template and the copies that pools keep of it. Refused while a volume reads from it.
    Remove {
        /// Which template.
        name: TemplateId,
    },
}
