use std::fmt;

use crate::ByteSize;

/// The unit of disk sizes, in bytes. QEMU and dm-crypt address disks in sectors of this size whatever the device's own.
pub const SECTOR: u64 = 512;

/// The largest disk: the largest whole number of sectors that fits a signed 64-bit file offset.
const LARGEST: u64 = i64::MAX as u64 & !(SECTOR - 1);

/// Why a number of bytes is not the size of a disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// A disk of no bytes.
    #[error("a disk has at least one sector of 512 bytes, this size is 0")]
    Zero,
    /// Not a whole number of sectors.
    #[error("{0} bytes is not a multiple of 512; {sizes}", sizes = nearest(*.0))]
    Unaligned(u64),
    /// Larger than a file offset can say.
    #[error("{0} bytes is more than a disk can have ({LARGEST})")]
    TooLarge(u64),
}

/// The sizes around a number that is none. Zero is none either.
fn nearest(bytes: u64) -> String {
    let lower = bytes - bytes % SECTOR;
    match lower {
        0 => format!("the nearest size is {SECTOR}"),
        _ => format!("the nearest sizes are {lower} and {}", lower + SECTOR),
    }
}

macro_rules! disk_size {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(try_from = "u64", into = "u64"))]
        pub struct $name(u64);

        impl $name {
            /// This many bytes.
            ///
            /// # Errors
            /// [`SizeError`] for zero, for a number that is not a multiple of 512, and beyond 2^63 - 512.
            pub const fn new(bytes: u64) -> Result<Self, SizeError> {
                if bytes > LARGEST {
                    Err(SizeError::TooLarge(bytes))
                } else if bytes % SECTOR != 0 {
                    Err(SizeError::Unaligned(bytes))
                } else if bytes == 0 {
                    Err(SizeError::Zero)
                } else {
                    Ok(Self(bytes))
                }
            }

            /// The size in bytes.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The size as a [`ByteSize`], which prints with a unit.
            #[must_use]
            pub const fn bytes(self) -> ByteSize {
                ByteSize::bytes(self.0)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = SizeError;
            fn try_from(bytes: u64) -> Result<Self, SizeError> {
                Self::new(bytes)
            }
        }

        impl TryFrom<ByteSize> for $name {
            type Error = SizeError;
            fn try_from(size: ByteSize) -> Result<Self, SizeError> {
                Self::new(size.get())
            }
        }

        impl From<$name> for u64 {
            fn from(size: $name) -> Self {
                size.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.bytes().fmt(f)
            }
        }
    };
}

disk_size!(
    /// The size that a guest sees, in bytes: a positive multiple of 512.
    ///
    /// It is what a user asked for. What the storage must provide to offer it is a [`DeviceSize`];
    /// [`Geometry`](crate::Geometry) converts between them.
    GuestSize
);
disk_size!(
    /// The size of the file or device that holds a disk, header included, in bytes: a positive multiple of 512.
    DeviceSize
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_sectors_and_refuses_the_rest_by_reason() {
        assert_eq!(GuestSize::new(512).unwrap().get(), 512);
        assert_eq!(GuestSize::new(LARGEST).unwrap().get(), LARGEST);
        assert_eq!(GuestSize::new(0), Err(SizeError::Zero));
        assert_eq!(GuestSize::new(1), Err(SizeError::Unaligned(1)));
        assert_eq!(GuestSize::new(u64::MAX), Err(SizeError::TooLarge(u64::MAX)));
        assert_eq!(
            DeviceSize::new(LARGEST + 512),
            Err(SizeError::TooLarge(LARGEST + 512))
        );
    }

    #[test]
    fn an_unaligned_size_names_its_neighbours() {
        assert_eq!(
            SizeError::Unaligned(1000).to_string(),
            "1000 bytes is not a multiple of 512; the nearest sizes are 512 and 1024"
        );
        assert_eq!(
            SizeError::Unaligned(1).to_string(),
            "1 bytes is not a multiple of 512; the nearest size is 512"
        );
    }
}
