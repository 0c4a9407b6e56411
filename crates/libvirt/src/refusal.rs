use std::path::PathBuf;

/// What is not said to libvirt, because it would do harm or come out as something else. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A character that XML does not carry unchanged: a control character, a tab, a line end, U+FFFE or U+FFFF.
    #[error("the character {0:?} cannot be said in libvirt's XML")]
    Character(char),
    /// A path that is not absolute.
    #[error("{0:?} is not an absolute path")]
    RelativePath(PathBuf),
    /// A path that is not UTF-8.
    #[error("{0:?} is not UTF-8, and cannot be said in libvirt's XML")]
    NotUtf8(PathBuf),
    /// A serial number that a virtio disk cannot have.
    #[error(
        "{0:?} is no serial number of a virtio disk: 1 to 20 characters of a-z, A-Z, 0-9, '.', '_' and '-'"
    )]
    Serial(String),
    /// Two disks at one target.
    #[error("two disks are to be {0}")]
    TargetTwice(String),
    /// No memory or no processor.
    #[error("a virtual machine needs at least 1 MiB of memory and one processor core")]
    NoMachine,
    /// To boot from a disk where there is none.
    #[error("there is no disk to boot from")]
    NothingToBoot,
    /// A command of QMP that carries a key in clear, or that ends the guest.
    #[error("{0} is not sent to QEMU's monitor: {1}")]
    Monitor(String, &'static str),
}
