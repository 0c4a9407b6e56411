//! What stands behind the fixed part of a qcow2 header: docs/interop/qcow2.rst of QEMU, section "Header extensions".

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use crate::ImageError;
use crate::qcow2::odd;
use crate::window::Fields;

const END: u32 = 0;
const BACKING_FORMAT: u32 = 0xe279_2aca;
const DATA_FILE: u32 = 0x4441_5441;
const LUKS: u32 = 0x0537_be77;

/// Type and length of an extension, in bytes.
const HEAD: usize = 8;

/// QEMU refuses longer names of formats.
const LONGEST_FORMAT: usize = 15;
const LONGEST_NAME: usize = 1023;

/// The extensions that say what else belongs to the image. The others may be ignored, and are.
#[derive(Default)]
pub(crate) struct Extensions {
    pub(crate) backing_format: Option<OsString>,
    pub(crate) data_file: Option<OsString>,
    /// Offset and length of the LUKS header.
    pub(crate) luks: Option<(u64, u64)>,
}

impl Extensions {
    /// Reads the extensions between `begin` and `end`, both inside the first cluster. Each step goes forward by eight bytes at
    /// least, so the work is bounded by the cluster.
    pub(crate) fn read(first: &Fields, begin: u32, end: u64) -> Result<Self, ImageError> {
        let mut found = Self::default();
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        let mut at = begin as usize;
        while at < end {
            let kind = first.u32(at)?;
            let length = first.u32(at + 4)? as usize;
            at += HEAD;
            if at > end || length > end - at {
                return Err(odd(
                    "length of a header extension",
                    length,
                    "it ends inside the first cluster and before the backing file's name",
                ));
            }
            if kind == END {
                break;
            }
            found.take(kind, first.slice(at, length)?)?;
            at = at.saturating_add(length.next_multiple_of(8));
        }
        Ok(found)
    }

    fn take(&mut self, kind: u32, data: &[u8]) -> Result<(), ImageError> {
        let twice = match kind {
            BACKING_FORMAT => self
                .backing_format
                .replace(name("backing format", data, LONGEST_FORMAT)?)
                .is_some(),
            DATA_FILE => self
                .data_file
                .replace(name("name of the data file", data, LONGEST_NAME)?)
                .is_some(),
            LUKS => self.luks.replace(pointer(data)?).is_some(),
            _ => false,
        };
        if twice {
            // Two readers might take one each.
            return Err(odd(
                "header extension",
                format_args!("{kind:#x} given twice"),
                "it is there once",
            ));
        }
        Ok(())
    }
}

fn name(field: &'static str, data: &[u8], longest: usize) -> Result<OsString, ImageError> {
    if data.len() > longest {
        return Err(odd(
            field,
            format_args!("{} bytes long", data.len()),
            "QEMU reads shorter ones",
        ));
    }
    Ok(OsString::from_vec(data.to_vec()))
}

fn pointer(data: &[u8]) -> Result<(u64, u64), ImageError> {
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    data.split_at_checked(8)
        .and_then(|(offset, length)| Some((number(offset)?, number(length)?)))
        .ok_or_else(|| {
            odd(
                "pointer to the LUKS header",
                format_args!("{} bytes long", data.len()),
                "it has 16 bytes",
            )
        })
}
