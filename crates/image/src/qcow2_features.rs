use crate::ImageError;
use crate::window::Fields;

/// Feature bits of qcow2 version 3. An image of version 2 has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Qcow2Features {
    /// Reference counts may be wrong; reading is safe.
    pub dirty: bool,
    /// Some data structure is damaged.
    pub corrupt: bool,
    /// Guest data lies in another file.
    pub data_file: bool,
    /// The compression type is not zlib.
    pub compression_type: bool,
    /// Entries of second-level tables have 16 bytes and describe parts of a cluster.
    pub extended_l2: bool,
    /// Reference counts may lag behind. Compatible.
    pub lazy_refcounts: bool,
    /// The bitmaps inside fit the content. Cleared by writers that do not know them.
    pub bitmaps: bool,
    /// The data file can be read as a raw image. Cleared by writers that do not know it.
    pub raw_data_file: bool,
    /// Compatible features that are not known here. They may be ignored.
    pub unknown_compatible: u64,
    /// Features that writers clear when they do not know them, and that are not known here. They may be ignored.
    pub unknown_autoclear: u64,
}

/// Places in the header, in bytes; docs/interop/qcow2.rst of QEMU, section "Header".
const INCOMPATIBLE: usize = 72;
const COMPATIBLE: usize = 80;
const AUTOCLEAR: usize = 88;

/// The bits that are defined.
const KNOWN_INCOMPATIBLE: u64 = 0b1_1111;
const KNOWN_COMPATIBLE: u64 = 0b1;
const KNOWN_AUTOCLEAR: u64 = 0b11;

impl Qcow2Features {
    pub(crate) fn read(header: &Fields, version: u32) -> Result<Self, ImageError> {
        if version < 3 {
            return Ok(Self::default());
        }
        let incompatible = header.u64(INCOMPATIBLE)?;
        let compatible = header.u64(COMPATIBLE)?;
        let autoclear = header.u64(AUTOCLEAR)?;
        if incompatible & !KNOWN_INCOMPATIBLE != 0 {
            return Err(ImageError::Features {
                bits: incompatible & !KNOWN_INCOMPATIBLE,
            });
        }
        Ok(Self {
            dirty: incompatible & 1 != 0,
            corrupt: incompatible & 2 != 0,
            data_file: incompatible & 4 != 0,
            compression_type: incompatible & 8 != 0,
            extended_l2: incompatible & 16 != 0,
            lazy_refcounts: compatible & 1 != 0,
            bitmaps: autoclear & 1 != 0,
            raw_data_file: autoclear & 2 != 0 && incompatible & 4 != 0,
            unknown_compatible: compatible & !KNOWN_COMPATIBLE,
            unknown_autoclear: autoclear & !KNOWN_AUTOCLEAR,
        })
    }
}
