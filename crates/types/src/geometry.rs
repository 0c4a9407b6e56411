use crate::{DeviceSize, GuestSize, SizeError};

/// Where the encrypted sectors begin in a raw LUKS disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "u64", into = "u64"))]
pub struct PayloadOffset(u64);

impl PayloadOffset {
    /// No header in front: a plain disk, a detached header, or a format that keeps the header elsewhere (qcow2).
    pub const NONE: Self = Self(0);
    /// A LUKS1 header as `cryptsetup` 2.6.1 makes it: 4096 sectors, key material aligned to 1 MiB.
    pub const LUKS1_CRYPTSETUP: Self = Self(2_097_152);
    /// A LUKS1 header with a 512-bit XTS key as QEMU 10.0.2 makes it: 4040 sectors.
    pub const LUKS1_QEMU: Self = Self(2_068_480);
    /// A LUKS2 header as `cryptsetup` 2.6.1 makes it.
    pub const LUKS2_CRYPTSETUP: Self = Self(16_777_216);

    /// An offset read from a header.
    ///
    /// # Errors
    /// [`SizeError`] when it is not a multiple of 512 or larger than a disk.
    pub fn new(bytes: u64) -> Result<Self, SizeError> {
        if bytes == 0 {
            return Ok(Self::NONE);
        }
        DeviceSize::new(bytes).map(|size| Self(size.get()))
    }

    /// The offset in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for PayloadOffset {
    type Error = SizeError;
    fn try_from(bytes: u64) -> Result<Self, SizeError> {
        Self::new(bytes)
    }
}

impl From<PayloadOffset> for u64 {
    fn from(offset: PayloadOffset) -> Self {
        offset.0
    }
}

/// Why two sizes do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// The device ends inside or right after the header.
    #[error("a device of {device} bytes has no room behind a header of {offset} bytes")]
    NoRoom {
        /// The size of the device in bytes.
        device: u64,
        /// The size of the header in bytes.
        offset: u64,
    },
    /// Guest size and header together exceed the largest disk.
    #[error("a disk of {guest} bytes with a header of {offset} bytes is larger than a disk can be")]
    TooLarge {
        /// The size that the guest would see in bytes.
        guest: u64,
        /// The size of the header in bytes.
        offset: u64,
    },
}

/// The one place where guest size and device size of a raw disk are converted into each other.
///
/// ```
/// use strongroom_types::{Geometry, GuestSize, PayloadOffset};
/// let guest = GuestSize::new(64 << 20)?;
/// let geometry = Geometry::for_guest(guest, PayloadOffset::LUKS1_CRYPTSETUP)?;
/// assert_eq!(geometry.device().get(), (64 << 20) + (2 << 20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Geometry {
    guest: GuestSize,
    device: DeviceSize,
    payload_offset: PayloadOffset,
}

impl Geometry {
    /// What the device must have so that the guest sees exactly `guest`.
    ///
    /// # Errors
    /// [`GeometryError::TooLarge`] when the sum is no disk size.
    pub fn for_guest(guest: GuestSize, payload_offset: PayloadOffset) -> Result<Self, GeometryError> {
        guest
            .get()
            .checked_add(payload_offset.0)
            .and_then(|bytes| DeviceSize::new(bytes).ok())
            .map(|device| Self {
                guest,
                device,
                payload_offset,
            })
            .ok_or(GeometryError::TooLarge {
                guest: guest.get(),
                offset: payload_offset.0,
            })
    }

    /// What a guest sees of the whole of `device`.
    ///
    /// # Errors
    /// [`GeometryError::NoRoom`] when nothing is left behind the header.
    pub fn of_device(device: DeviceSize, payload_offset: PayloadOffset) -> Result<Self, GeometryError> {
        device
            .get()
            .checked_sub(payload_offset.0)
            .and_then(|bytes| GuestSize::new(bytes).ok())
            .map(|guest| Self {
                guest,
                device,
                payload_offset,
            })
            .ok_or(GeometryError::NoRoom {
                device: device.get(),
                offset: payload_offset.0,
            })
    }

    /// What the guest sees.
    #[must_use]
    pub const fn guest(&self) -> GuestSize {
        self.guest
    }

    /// What the storage provides.
    #[must_use]
    pub const fn device(&self) -> DeviceSize {
        self.device
    }

    /// What lies between the two.
    #[must_use]
    pub const fn payload_offset(&self) -> PayloadOffset {
        self.payload_offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_device_that_ends_in_the_header_is_refused() {
        let header = DeviceSize::new(PayloadOffset::LUKS1_CRYPTSETUP.get()).unwrap();
        assert_eq!(
            Geometry::of_device(header, PayloadOffset::LUKS1_CRYPTSETUP),
            Err(GeometryError::NoRoom {
                device: 2_097_152,
                offset: 2_097_152
            })
        );
    }

    #[test]
    fn a_guest_that_leaves_no_room_for_the_header_is_refused() {
        let largest = GuestSize::new(i64::MAX as u64 & !511).unwrap();
        assert!(matches!(
            Geometry::for_guest(largest, PayloadOffset::LUKS1_QEMU),
            Err(GeometryError::TooLarge { .. })
        ));
        assert_eq!(
            Geometry::for_guest(largest, PayloadOffset::NONE)
                .unwrap()
                .device()
                .get(),
            largest.get()
        );
    }

    proptest! {
        #[test]
        fn guest_and_device_are_inverse(sectors in 1u64..1 << 50, header in 0u64..1 << 20) {
            let guest = GuestSize::new(sectors * 512).unwrap();
            let offset = PayloadOffset::new(header * 512).unwrap();
            let there = Geometry::for_guest(guest, offset).unwrap();
            prop_assert_eq!(Geometry::of_device(there.device(), offset).unwrap(), there);
        }
    }
}
