use std::fmt;
use std::io;
use std::path::PathBuf;

/// A format that this crate reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// LUKS version 1.
    Luks1,
    /// LUKS version 2.
    Luks2,
    /// QEMU's copy-on-write format, versions 2 and 3.
    Qcow2,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Luks1 => "LUKS1",
            Self::Luks2 => "LUKS2",
            Self::Qcow2 => "qcow2",
        })
    }
}

/// Why a header is not accepted, not opened or not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file or device could not be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Neither a regular file nor a block device.
    #[error("{} is a {kind}; a disk is a regular file or a block device", path.display())]
    NotADisk {
        /// Its path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Reading failed. A reader that ends early is [`ImageError::Truncated`] instead.
    #[error("cannot read the {what}")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The first bytes are not those of the format.
    #[error("no {format} header: the first bytes are {found}")]
    Magic {
        /// What was looked for.
        format: Format,
        /// What is there instead, in words.
        found: String,
    },
    /// The reader ends inside the header or inside something that the header points to.
    #[error("the {format} header is cut off: its {what} ends at byte {need}, there are {have}")]
    Truncated {
        /// What was read.
        format: Format,
        /// The part that is not all there.
        what: &'static str,
        /// Where that part ends.
        need: u64,
        /// How many bytes there are.
        have: u64,
    },
    /// A field has a value that the format, or this reader, does not allow.
    #[error("the {format} header is not sound: {field} is {found}, but {rule}")]
    Field {
        /// What was read.
        format: Format,
        /// The field.
        field: &'static str,
        /// Its value, printable.
        found: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// Incompatible features that nobody has defined, or that this reader does not know. Such an image must not be opened.
    #[error(
        "the qcow2 header has unknown incompatible features {bits:#x}; it needs a newer reader, or is made up"
    )]
    Features {
        /// The unknown bits.
        bits: u64,
    },
    /// The checksum does not fit the header: it is damaged, or was changed without cryptsetup.
    #[error("the checksum of the {copy} LUKS2 header is wrong; the header is damaged")]
    Checksum {
        /// `primary` or `secondary`.
        copy: &'static str,
    },
    /// The JSON metadata of LUKS2 is not what the format says.
    #[error("the LUKS2 metadata is not sound: {problem}")]
    Metadata {
        /// What is wrong with it.
        problem: String,
    },
    /// Neither copy of the LUKS2 header is whole.
    #[error("no whole LUKS2 header: primary: {primary}; secondary: {secondary}")]
    NoWholeCopy {
        /// What is wrong with the first.
        primary: Box<ImageError>,
        /// What is wrong with the second.
        secondary: Box<ImageError>,
    },
    /// Opening the disk would cost more than the caller allows.
    #[error("{whose} asks for {found} {unit}, more than {limit}; refusing to compute it")]
    Costly {
        /// Which key derivation.
        whose: String,
        /// What the header asks for.
        found: u64,
        /// The unit of both numbers.
        unit: &'static str,
        /// The most that is allowed.
        limit: u64,
    },
    /// The passphrase opens no keyslot.
    #[error("the passphrase opens no keyslot")]
    WrongPassphrase,
    /// No keyslot is active.
    #[error("no keyslot is active: no passphrase opens it, only a header backup would bring it back")]
    NoKeyslot,
    /// A keyslot that this crate does not open, although others may.
    #[error(
        "the LUKS1 keyslots have the {field} {found}; only those of aes-xts-plain64 with sha256 are opened here"
    )]
    Unsupported {
        /// What is not known here.
        field: &'static str,
        /// Its value, printable.
        found: String,
    },
    /// Writing failed.
    #[error("cannot write the {what}")]
    Write {
        /// What was to be written.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

impl ImageError {
    pub(crate) fn field(
        format: Format,
        field: &'static str,
        found: impl fmt::Display,
        rule: &'static str,
    ) -> Self {
        Self::Field {
            format,
            field,
            found: found.to_string(),
            rule,
        }
    }
}
