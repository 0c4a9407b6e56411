//! What a header says does not decide how much is read.

use std::io::{self, Read, Seek, SeekFrom};

use strongroom_image::{Disk, Luks1Header, Luks2Header, Qcow2Header};

use crate::lab::{LUKS1, LUKS2, QCOW2, QCOW2_LUKS};
use crate::lies::{put, sign};

/// A disk as large as can be, with something written here and there, that counts what is read of it.
#[derive(Default)]
struct Endless {
    written: Vec<(u64, Vec<u8>)>,
    place: u64,
    read: usize,
}

impl Endless {
    fn of(bytes: &[u8]) -> Self {
        Self {
            written: vec![(0, bytes.to_vec())],
            ..Self::default()
        }
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(0);
        for (start, bytes) in &self.written {
            for (i, byte) in buffer.iter_mut().enumerate() {
                let from = (self.place + i as u64).checked_sub(*start);
                if let Some(found) = from.and_then(|at| bytes.get(at as usize)) {
                    *byte = *found;
                }
            }
        }
        self.place += buffer.len() as u64;
        self.read += buffer.len();
        Ok(buffer.len())
    }
}

impl Seek for Endless {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.place = match to {
            SeekFrom::Start(place) => place,
            SeekFrom::End(_) => i64::MAX as u64,
            SeekFrom::Current(_) => self.place,
        };
        Ok(self.place)
    }
}

#[test]
fn luks1_reads_its_fixed_part() {
    let mut disk = Endless::of(&LUKS1[..592]);
    Luks1Header::read(&mut disk).unwrap();
    assert!(disk.read <= 600, "{}", disk.read);
}

#[test]
fn qcow2_reads_its_first_cluster() {
    for (bytes, most) in [(&*QCOW2, 66_000), (&*QCOW2_LUKS, 66_600)] {
        let mut disk = Endless::of(bytes);
        Qcow2Header::read(&mut disk).unwrap();
        assert!(disk.read <= most, "{}", disk.read);
    }
    // A cluster that is as large as can be, full of extensions of no length.
    let mut bytes = vec![0; 2 << 20];
    bytes[..112].copy_from_slice(&QCOW2[..112]);
    put(&mut bytes, 8, 0u64);
    put(&mut bytes, 20, 21u32);
    for at in (112..2 << 20).step_by(8) {
        put(&mut bytes, at, 0x1234_5678u32);
    }
    for (at, place) in [(40, 2u64 << 20), (48, 4 << 20)] {
        put(&mut bytes, at, place);
    }
    let mut disk = Endless::of(&bytes);
    Qcow2Header::read(&mut disk).unwrap();
    assert!(disk.read <= (2 << 20) + 1024, "{}", disk.read);
}

#[test]
fn luks2_reads_no_more_than_the_largest_header_everywhere() {
    let sizes: Vec<u64> = (14..=22).map(|bits| 1 << bits).collect();
    let mut primary = LUKS2[..4096].to_vec();
    put(&mut primary, 8, 4u64 << 20);
    let mut disk = Endless::of(&primary);
    for size in sizes {
        let mut secondary = LUKS2[16_384..20_480].to_vec();
        put(&mut secondary, 8, size);
        put(&mut secondary, 256, size);
        disk.written.push((size, secondary));
    }
    let error = Luks2Header::read(&mut disk).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
    assert!(
        (11 << 20..13 << 20).contains(&disk.read),
        "each place is looked at: {}",
        disk.read
    );
    disk.read = 0;
    Disk::read(&mut disk).unwrap_err();
    assert!(disk.read < 13 << 20, "{}", disk.read);
}

#[test]
fn metadata_that_nests_without_end_takes_no_stack() {
    let mut bytes = LUKS2[..16_384].to_vec();
    let end = bytes.iter().skip(4096).position(|b| *b == 0).unwrap() + 4096;
    let json = String::from_utf8(bytes[4096..end].to_vec()).unwrap();
    let nested = format!("\"tokens\":{{\"0\":{}{}}}", "[".repeat(4000), "]".repeat(4000));
    let json = json.replace("\"tokens\":{}", &nested);
    assert!(json.len() > 8000, "{json}");
    bytes[4096..4096 + json.len()].copy_from_slice(json.as_bytes());
    sign(&mut bytes);
    assert_eq!(crate::lab::luks2(&bytes).unwrap().metadata.tokens, 1);
}
