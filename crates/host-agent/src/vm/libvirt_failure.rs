use strongroom_endpoint_selector::{EndpointError, ErrorKind};
use strongroom_libvirt::{LibvirtError, Refusal};

use crate::failure;

/// A failure of libvirt as one of the endpoint.
pub(super) fn of(operation: &'static str, error: LibvirtError) -> EndpointError {
    let kind = match &error {
        LibvirtError::MissingTool(_) => ErrorKind::MissingTool,
        LibvirtError::Refused(refusal) => refused(refusal),
        LibvirtError::Handover(_) | LibvirtError::Document(_) => ErrorKind::Io,
        LibvirtError::Interrupted { source, .. } => return failure::interrupted(operation, *source),
        LibvirtError::Run { source, .. } => failure::run_kind(source),
        LibvirtError::NoDomain { .. }
        | LibvirtError::NotRunning { .. }
        | LibvirtError::NoDisk { .. }
        | LibvirtError::NoFile { .. } => ErrorKind::NotFound,
        LibvirtError::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        LibvirtError::WrongKey { .. } => ErrorKind::WrongKey,
        LibvirtError::NotLuks { .. }
        | LibvirtError::WrongFormat { .. }
        | LibvirtError::NotEncrypted { .. }
        | LibvirtError::KeyNeeded { .. }
        | LibvirtError::WrongNode { .. } => ErrorKind::WrongDisk,
        LibvirtError::Busy { .. } | LibvirtError::StillAttached { .. } => ErrorKind::Busy,
        LibvirtError::Unsupported { .. } | LibvirtError::BrokenCheckpoint { .. } => ErrorKind::Unsupported,
        LibvirtError::Denied { .. } => ErrorKind::PermissionDenied,
        LibvirtError::NoSpace { .. } => ErrorKind::NoSpace,
        _ => ErrorKind::Tool,
    };
    EndpointError::new(kind, operation, failure::said(&error)).with_source(error)
}

/// What libvirt was not even told.
fn refused(refusal: &Refusal) -> ErrorKind {
    match refusal {
        Refusal::DeviceSize { .. }
        | Refusal::NoChanges(_)
        | Refusal::RawKeyslots(_)
        | Refusal::Monitor(..) => ErrorKind::Unsupported,
        Refusal::InUse(_) => ErrorKind::Busy,
        _ => ErrorKind::InvalidRequest,
    }
}
