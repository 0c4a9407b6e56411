//! Headers that are cut off or changed: an error or a header, never a panic.

use std::io::Cursor;

use proptest::prelude::*;
use strongroom_image::{Disk, ImageError};

use crate::lab::{LUKS1, LUKS2, QCOW2, QCOW2_LUKS, luks1, luks2, qcow2};

fn everything(bytes: &[u8]) {
    let _ = (luks1(bytes), luks2(bytes), qcow2(bytes));
    let _ = Disk::read(&mut Cursor::new(bytes));
}

#[test]
fn a_luks1_header_is_refused_at_every_length_short_of_its_key_material() {
    let end = luks1(&LUKS1).unwrap().material_end() as usize;
    for length in (0..2048).chain((2048..end).step_by(4093)).chain([end - 1]) {
        let error = luks1(&LUKS1[..length]).unwrap_err();
        assert!(
            matches!(error, ImageError::Magic { .. } if length < 8)
                || matches!(error, ImageError::Truncated { .. } if length >= 8),
            "{length}: {error}"
        );
    }
    assert_eq!(luks1(&LUKS1[..end]).unwrap(), luks1(&LUKS1).unwrap());
}

#[test]
fn a_luks2_header_is_refused_at_every_length_short_of_its_first_copy() {
    for length in (0..5000).chain((5000..16_384).step_by(7)).chain([16_383]) {
        let error = luks2(&LUKS2[..length]).unwrap_err();
        assert!(
            matches!(error, ImageError::Magic { .. } if length < 8)
                || matches!(error, ImageError::NoWholeCopy { .. } if length >= 8),
            "{length}: {error}"
        );
    }
    for length in (16_384..32_768).step_by(211) {
        let ours = luks2(&LUKS2[..length]).unwrap();
        assert_ne!(ours.primary, ours.secondary, "{length}");
    }
}

#[test]
fn a_qcow2_header_is_refused_at_every_length_short_of_its_tables() {
    for (bytes, longest) in [(&*QCOW2, 196_608), (&*QCOW2_LUKS, 262_144)] {
        for length in (0..2048).chain((2048..longest).step_by(997)) {
            let error = qcow2(&bytes[..length]).unwrap_err();
            assert!(
                matches!(error, ImageError::Magic { .. } if length < 8)
                    || matches!(error, ImageError::Truncated { .. } if length >= 8),
                "{length}: {error}"
            );
        }
        assert_eq!(
            qcow2(bytes).unwrap(),
            Disk::read(&mut Cursor::new(bytes)).map(unboxed).unwrap()
        );
    }
}

fn unboxed(disk: Disk) -> strongroom_image::Qcow2Header {
    match disk {
        Disk::Qcow2(header) => *header,
        other => panic!("{other:?}"),
    }
}

/// Where numbers and texts of the headers are.
fn changes() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((0usize..640, any::<u8>()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(512), ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_a_header_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        everything(&bytes);
    }

    #[test]
    fn any_bytes_behind_a_magic_give_a_header_or_an_error(
        magic in proptest::sample::select(vec![
            b"LUKS\xba\xbe\0\x01", b"LUKS\xba\xbe\0\x02", b"QFI\xfb\0\0\0\x02", b"QFI\xfb\0\0\0\x03",
        ]),
        bytes in proptest::collection::vec(any::<u8>(), 0..640),
        zeros in 0usize..8192,
    ) {
        everything(&[&magic[..], &bytes, &vec![0; zeros]].concat());
    }

    #[test]
    fn changed_headers_give_a_header_or_an_error(changes in changes(), which in 0usize..4) {
        let mut bytes = [&LUKS1, &LUKS2, &QCOW2, &QCOW2_LUKS][which].to_vec();
        for (place, value) in &changes {
            bytes[*place] = *value;
        }
        everything(&bytes);
    }

    /// With a checksum that fits, what is wrong with the metadata is for the reader of the metadata to find.
    #[test]
    fn changed_metadata_with_a_right_checksum_gives_a_header_or_an_error(
        changes in proptest::collection::vec((4096usize..5200, any::<u8>()), 1..4)
    ) {
        let mut bytes = LUKS2[..32_768].to_vec();
        for (place, value) in &changes {
            bytes[*place] = *value;
        }
        crate::lies::sign(&mut bytes[..16_384]);
        let _ = luks2(&bytes);
    }
}
