use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::node::Node;
use crate::{ImageFormat, ImageInfo, Location, QemuImgError, Refusal};

/// With these bytes a LUKS header begins, of either version.
const LUKS_MAGIC: [u8; 6] = *b"LUKS\xba\xbe";

/// Refuses a layer whose place is not what the description says, or that is described as raw and begins as LUKS does.
/// A layer that is not there is left to the tool.
pub(crate) fn compare_with_file(node: &Node<'_>) -> Result<(), QemuImgError> {
    let path = node.path();
    let io = |doing| {
        move |source| QemuImgError::File {
            doing,
            path: path.to_owned(),
            source,
        }
    };
    let kind = match std::fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("look at")(error)),
    };
    match &node.location {
        Location::File(_) if !kind.is_file() => {
            return Err(Refusal::NotA {
                path: path.to_owned(),
                expected: "regular file",
            }
            .into());
        }
        Location::Block(_) if !kind.is_block_device() => {
            return Err(Refusal::NotA {
                path: path.to_owned(),
                expected: "block device",
            }
            .into());
        }
        _ => {}
    }
    if node.format == ImageFormat::Raw && !node.opaque && begins_as_luks(path).map_err(io("read"))? {
        return Err(Refusal::RawIsLuks {
            path: path.to_owned(),
        }
        .into());
    }
    Ok(())
}

fn begins_as_luks(path: &Path) -> std::io::Result<bool> {
    let mut beginning = Vec::with_capacity(LUKS_MAGIC.len());
    std::fs::File::open(path)?
        .take(LUKS_MAGIC.len() as u64)
        .read_to_end(&mut beginning)?;
    Ok(beginning == LUKS_MAGIC)
}

/// Refuses a qcow2 layer whose header says something else than the description.
pub(crate) fn compare_with_header(node: &Node<'_>, info: &ImageInfo) -> Result<(), Refusal> {
    let path = || node.path().to_owned();
    let say = |encrypted| if encrypted { "encrypted" } else { "plain" };
    if info.encrypted != node.key.is_some() {
        let (described, found) = (say(node.key.is_some()), say(info.encrypted));
        return Err(Refusal::OtherSide {
            path: path(),
            described,
            found,
        });
    }
    if let Some(data_file) = &info.data_file {
        return Err(Refusal::DataFile {
            path: path(),
            data_file: data_file.clone(),
        });
    }
    match (&node.base, &info.backing) {
        (None, Some(backing)) => Err(Refusal::UndescribedBase {
            path: path(),
            backing: backing.name.clone(),
        }),
        (Some(_), None) => Err(Refusal::NoBaseInHeader { path: path() }),
        _ => Ok(()),
    }
}
