use std::path::PathBuf;

/// Why a command is not run: it could do harm, or cannot be said to `qemu-img`.
///
/// Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A path of no bytes.
    #[error("the path is empty")]
    EmptyPath,
    /// No path has a NUL byte.
    #[error("the path {path:?} has a NUL byte")]
    NulInPath {
        /// The path.
        path: PathBuf,
    },
    /// Tools run in another working directory, and a backing file's name is read relative to its overlay.
    #[error("the path {path:?} is relative, give an absolute one")]
    RelativePath {
        /// The path.
        path: PathBuf,
    },
    /// The header of a qcow2 image has room for 1023 bytes.
    #[error("the backing file's path has {bytes} bytes, a qcow2 header has room for {limit}: {path:?}", limit = crate::node::LONGEST_BACKING_NAME)]
    LongBackingName {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The only way to give `rebase` a new base with a key is a JSON text, which has to be UTF-8.
    #[error("the path {path:?} of an encrypted new base is not UTF-8, which rebase needs")]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// A path stands for a whole device.
    #[error("only the beginning of {path:?} is the image, which a path alone cannot say")]
    Beginning {
        /// The device.
        path: PathBuf,
    },
    /// `-f` and a file name cannot say what this image's description says.
    #[error("{path:?} is named by flags, which cannot say {what}; name it by options")]
    FlagsCannotSay {
        /// The image.
        path: PathBuf,
        /// What they cannot say.
        what: &'static str,
    },
    /// Only qcow2 has backing files, snapshots and bitmaps.
    #[error("{path:?} is {format}, only qcow2 has {what}")]
    NotQcow2 {
        /// The image.
        path: PathBuf,
        /// Its format.
        format: &'static str,
        /// What was asked for.
        what: &'static str,
    },
    /// QEMU opens an image that others use for reading only.
    #[error("{path:?} is described as shared with others, and this would write to it")]
    SharedForWriting {
        /// The image.
        path: PathBuf,
    },
    /// The image is described with a key that would open it no more.
    #[error("{path:?} is described with the key that is to go; describe it with one that stays")]
    KeyThatGoes {
        /// The image.
        path: PathBuf,
    },
    /// A LUKS1 header has eight keyslots.
    #[error("there is no keyslot {slot}: they are numbered 0 to 7")]
    NoSuchSlot {
        /// The number.
        slot: u8,
    },
    /// Without its last keyslot nothing opens the image.
    #[error("this would remove the last key that opens {path:?}")]
    LastKey {
        /// The image.
        path: PathBuf,
    },
    /// Encrypted content would be written to a file in clear.
    #[error("the content of {from:?} is encrypted and would be written to {to:?} in clear")]
    Plaintext {
        /// Where the content is.
        from: PathBuf,
        /// Where it would go.
        to: PathBuf,
    },
    /// Leave to write in clear needs a reason.
    #[error("writing encrypted content in clear needs a reason")]
    NoReason,
    /// What was never written to a raw LUKS disk reads as noise, not as zeros.
    #[error("{path:?} cannot be taken to be all zeros: {why}")]
    NotZero {
        /// The target.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A copy has its whole content.
    #[error("a copy stands alone: {path:?} cannot be made as an overlay by convert")]
    CopyWithBase {
        /// The target.
        path: PathBuf,
    },
    /// Around a part of an image that is made anew there would be nothing.
    #[error("{path:?} is not there yet, and only a part of it would be written")]
    PartOfNew {
        /// The target.
        path: PathBuf,
    },
    /// An overlay takes its size from its base, another image from the caller.
    #[error("{path:?} has no base to take its size from")]
    NoSize {
        /// The image.
        path: PathBuf,
    },
    /// The operation is about what lies below the image.
    #[error("the backing file of {path:?} is not described")]
    NoBase {
        /// The image.
        path: PathBuf,
    },
    /// `qemu-img create` overwrites what is there, and when it fails, deletes it.
    #[error("{path:?} exists already")]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// Neither a regular file nor a block device, or not the one of them that was said.
    #[error("{path:?} is not a {expected}")]
    NotA {
        /// The path.
        path: PathBuf,
        /// What was said.
        expected: &'static str,
    },
    /// An image that is described as raw begins as one of another format does.
    #[error(
        "{path:?} is described as raw and begins with a {format} header; describe it as {format}, or as opaque when a guest made it"
    )]
    NotRaw {
        /// The image.
        path: PathBuf,
        /// What it begins as: `LUKS` or `qcow2`.
        format: &'static str,
    },
    /// The header says encrypted, the description says plain, or the other way round.
    #[error("{path:?} is described as {described}, its header says {found}")]
    OtherSide {
        /// The image.
        path: PathBuf,
        /// What the description says.
        described: &'static str,
        /// What the header says.
        found: &'static str,
    },
    /// The header names a backing file that the description does not have: its content would read as zeros.
    #[error("the header of {path:?} names the backing file {backing:?}, its description names none")]
    UndescribedBase {
        /// The image.
        path: PathBuf,
        /// The name in the header.
        backing: String,
    },
    /// The description has a base, the header names none: the image would show content that is not its own.
    #[error("{path:?} is described as an overlay, its header names no backing file")]
    NoBaseInHeader {
        /// The image.
        path: PathBuf,
    },
    /// The content lies in another file, which the header names. An image from outside could name any file.
    #[error("{path:?} keeps its data in another file ({data_file:?})")]
    DataFile {
        /// The image.
        path: PathBuf,
        /// The name in the header.
        data_file: String,
    },
    /// The new size is less than the old one, and the call was to grow.
    #[error("{path:?} is larger than that, and shrinking was not asked for")]
    WouldShrink {
        /// The image.
        path: PathBuf,
    },
    /// A name that QEMU would cut off or take for something else.
    #[error("{name:?} cannot be the name of a {of}: {why}")]
    Name {
        /// The name.
        name: String,
        /// Of what.
        of: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// QEMU would make a second snapshot of that name.
    #[error("{path:?} has a snapshot {name:?} already")]
    SnapshotExists {
        /// The image.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// No snapshot of that name.
    #[error("{path:?} has no snapshot {name:?}")]
    NoSnapshot {
        /// The image.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// Several snapshots of that name.
    #[error("{path:?} has {count} snapshots {name:?}")]
    AmbiguousSnapshot {
        /// The image.
        path: PathBuf,
        /// The name.
        name: String,
        /// How many.
        count: usize,
    },
    /// Options that exclude each other, or a value out of its range.
    #[error("{option} {problem}")]
    Option {
        /// Which.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}
