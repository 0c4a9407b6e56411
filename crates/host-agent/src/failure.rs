//! How failures of the operating system and of tools become errors of the endpoint.

use std::io;
use std::path::Path;

use rustix::fs::statvfs;
use strongroom_cryptsetup::CryptsetupError;
use strongroom_endpoint_selector::{EndpointError, ErrorKind};
use strongroom_exec::RunError;
use strongroom_qemu_img::QemuImgError;
use strongroom_types::Interrupted;

/// Below this a tool that failed to write failed for want of space, whatever it said.
const FULL: u64 = 4 << 20;

/// A failed system call on a path.
pub(crate) fn io(operation: &'static str, path: &Path, error: io::Error) -> EndpointError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::ResourceBusy => ErrorKind::Busy,
        io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput => ErrorKind::InvalidRequest,
        _ => ErrorKind::Io,
    };
    let message = match kind {
        ErrorKind::NoSpace => format!("no space left for {}", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    EndpointError::new(kind, operation, message).with_source(error)
}

/// The caller's own end of the call.
pub(crate) fn interrupted(operation: &'static str, interrupted: Interrupted) -> EndpointError {
    let kind = match interrupted {
        Interrupted::Cancelled => ErrorKind::Cancelled,
        Interrupted::Deadline => ErrorKind::Deadline,
    };
    EndpointError::new(kind, operation, "stopped before its end")
}

/// A tool that did not run to its end.
pub(crate) fn run_kind(error: &RunError) -> ErrorKind {
    match error {
        RunError::Cancelled { .. } => ErrorKind::Cancelled,
        RunError::Deadline { .. } => ErrorKind::Deadline,
        _ => ErrorKind::Tool,
    }
}

/// A tool of the system that did not run to its end.
pub(crate) fn run(operation: &'static str, tool: &'static str, error: RunError) -> EndpointError {
    EndpointError::new(run_kind(&error), operation, format!("{tool}: {}", said(&error))).with_source(error)
}

/// An error with the texts of its causes, which do not repeat each other.
pub(crate) fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// A failure of `qemu-img`.
pub(crate) fn qemu(operation: &'static str, error: QemuImgError) -> EndpointError {
    let kind = match &error {
        QemuImgError::MissingTool { .. } => ErrorKind::MissingTool,
        QemuImgError::WrongKey { .. } => ErrorKind::WrongKey,
        QemuImgError::NotFound { .. } => ErrorKind::NotFound,
        QemuImgError::Denied { .. } => ErrorKind::PermissionDenied,
        QemuImgError::NoSpace { .. } => ErrorKind::NoSpace,
        QemuImgError::Busy { .. } => ErrorKind::Busy,
        QemuImgError::Unsupported { .. } => ErrorKind::Unsupported,
        QemuImgError::NotAsDescribed { .. } | QemuImgError::Damaged { .. } => ErrorKind::WrongDisk,
        QemuImgError::Refused(_) => ErrorKind::InvalidRequest,
        QemuImgError::Run { source, .. } => run_kind(source),
        QemuImgError::File { path, source, .. } => {
            let again = io::Error::from(source.kind());
            return io(operation, path, again).with_source(error);
        }
        _ => ErrorKind::Tool,
    };
    EndpointError::new(kind, operation, format!("qemu-img: {}", said(&error))).with_source(error)
}

/// A failure of `cryptsetup` on a path.
pub(crate) fn cryptsetup(operation: &'static str, path: &Path, error: CryptsetupError) -> EndpointError {
    let kind = match &error {
        CryptsetupError::MissingTool(_) => ErrorKind::MissingTool,
        CryptsetupError::NoDeviceMapper { .. } | CryptsetupError::OutOfMemory { .. } => {
            ErrorKind::Unsupported
        }
        CryptsetupError::DeviceMissing { .. } => ErrorKind::NotFound,
        CryptsetupError::Busy { .. } => ErrorKind::Busy,
        CryptsetupError::NotBlank { .. } | CryptsetupError::Exists { .. } => ErrorKind::AlreadyExists,
        CryptsetupError::WrongPassphrase { .. } | CryptsetupError::NoKeyslot { .. } => ErrorKind::WrongKey,
        CryptsetupError::NotLuks { .. }
        | CryptsetupError::WrongFormat { .. }
        | CryptsetupError::WrongVolume { .. }
        | CryptsetupError::OtherVolumeKey { .. }
        | CryptsetupError::Header { .. } => ErrorKind::WrongDisk,
        CryptsetupError::TooSmall { .. }
        | CryptsetupError::Size { .. }
        | CryptsetupError::SectorSize { .. }
        | CryptsetupError::NotADisk { .. }
        | CryptsetupError::HeaderOnPayload { .. }
        | CryptsetupError::BackupIsVolume { .. }
        | CryptsetupError::Path { .. } => ErrorKind::InvalidRequest,
        CryptsetupError::Run { source, .. } => run_kind(source),
        CryptsetupError::Interrupted { source, .. } => return interrupted(operation, *source),
        _ if is_full(path) => {
            let message = format!(
                "no space left for {}: cryptsetup: {}",
                path.display(),
                said(&error)
            );
            return EndpointError::new(ErrorKind::NoSpace, operation, message).with_source(error);
        }
        _ => ErrorKind::Tool,
    };
    EndpointError::new(kind, operation, format!("cryptsetup: {}", said(&error))).with_source(error)
}

/// Whether the file system of a path has next to nothing left. `cryptsetup` has no exit code for it.
fn is_full(path: &Path) -> bool {
    let parent = path.parent().unwrap_or(path);
    statvfs(parent).is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) < FULL)
}
