use strongroom_endpoint_selector::{EndpointError, ErrorKind};
use strongroom_libvirt::LibvirtError;

use crate::failure;

/// A failure of libvirt as one of the endpoint.
pub(super) fn of(operation: &'static str, error: LibvirtError) -> EndpointError {
    let kind = match &error {
        LibvirtError::MissingTool(_) => ErrorKind::MissingTool,
        LibvirtError::Refused(_) => ErrorKind::InvalidRequest,
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
        | LibvirtError::KeyNeeded { .. } => ErrorKind::WrongDisk,
        LibvirtError::Busy { .. } | LibvirtError::StillAttached { .. } => ErrorKind::Busy,
        LibvirtError::Unsupported { .. } => ErrorKind::Unsupported,
        LibvirtError::Denied { .. } => ErrorKind::PermissionDenied,
        LibvirtError::NoSpace { .. } => ErrorKind::NoSpace,
        _ => ErrorKind::Tool,
    };
    EndpointError::new(kind, operation, failure::said(&error)).with_source(error)
}
