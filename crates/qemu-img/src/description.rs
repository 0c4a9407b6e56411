use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::node::Node;
use crate::{ImageFormat, ImageInfo, Location, QemuImgError, Refusal};

/// With these bytes the headers begin of what passes for raw: LUKS of either version (its on-disk format specification, 1.2.3), and
/// qcow2 (`docs/interop/qcow2` of QEMU), which may have a LUKS header inside.
const MAGICS: [(&str, &[u8]); 2] = [("LUKS", b"LUKS\xba\xbe"), ("qcow2", b"QFI\xfb")];

/// Refuses a layer whose place is not what the description says, or that is described as raw and has a header.
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
        Location::Block(_) | Location::Beginning { .. } if !kind.is_block_device() => {
            return Err(Refusal::NotA {
                path: path.to_owned(),
                expected: "block device",
            }
            .into());
        }
        _ => {}
    }
    if node.format == ImageFormat::Raw
        && !node.opaque
        && let Some(format) = header(path).map_err(io("read"))?
    {
        return Err(Refusal::NotRaw {
            path: path.to_owned(),
            format,
        }
        .into());
    }
    Ok(())
}

/// The format whose header is at the beginning.
fn header(path: &Path) -> std::io::Result<Option<&'static str>> {
    let longest = MAGICS.iter().map(|(_, magic)| magic.len()).max().unwrap_or(0);
    let mut beginning = Vec::with_capacity(longest);
    std::fs::File::open(path)?
        .take(longest as u64)
        .read_to_end(&mut beginning)?;
    let known = MAGICS.iter().find(|(_, magic)| beginning.starts_with(magic));
    Ok(known.map(|(format, _)| *format))
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
