//! Searches a disk's raw bytes for the content that should only be there encrypted.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::Path;

use strongroom_types::Call;

const SECTOR: usize = 512;

/// At most this many sectors are remembered, spread evenly, so that memory does not grow with the image.
const REMEMBERED: u64 = 1 << 16;

/// Sectors of a plain image, as fingerprints. Sectors with few different bytes are left out: they could be anywhere.
#[derive(Debug)]
pub(crate) struct Fingerprints {
    sectors: HashSet<u64>,
}

fn fingerprint(sector: &[u8]) -> Option<u64> {
    let mut seen = [false; 256];
    for byte in sector {
        seen[usize::from(*byte)] = true;
    }
    if seen.iter().filter(|s| **s).count() < 24 {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    sector.hash(&mut hasher);
    Some(hasher.finish())
}

/// Calls `f` with each whole sector of the file.
fn sectors(path: &Path, call: &Call, mut f: impl FnMut(u64, &[u8])) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; SECTOR * 1024];
    let mut index = 0;
    loop {
        call.check().map_err(io::Error::other)?;
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(buffer.get_mut(filled..).unwrap_or_default())? {
                0 => break,
                n => filled += n,
            }
        }
        for sector in buffer.get(..filled).unwrap_or_default().chunks_exact(SECTOR) {
            f(index, sector);
            index += 1;
        }
        if filled < buffer.len() {
            return Ok(());
        }
    }
}

impl Fingerprints {
    /// Of a raw image.
    pub(crate) fn of(raw_image: &Path, call: &Call) -> io::Result<Self> {
        let total = std::fs::metadata(raw_image)?.len() / SECTOR as u64;
        let stride = total.div_ceil(REMEMBERED).max(1);
        let mut found = HashSet::new();
        sectors(raw_image, call, |index, sector| {
            if index % stride == 0 {
                found.extend(fingerprint(sector));
            }
        })?;
        Ok(Self { sectors: found })
    }

    /// How many different sectors are known.
    pub(crate) fn len(&self) -> usize {
        self.sectors.len()
    }

    /// How many sectors of the file are among them. Disks keep sectors aligned, encrypted or not.
    pub(crate) fn found_in(&self, disk: &Path, call: &Call) -> io::Result<u64> {
        let mut found = 0;
        sectors(disk, call, |_, sector| {
            if fingerprint(sector).is_some_and(|f| self.sectors.contains(&f)) {
                found += 1;
            }
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_sector_that_is_there_and_none_that_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (image, plain, other) = (
            directory.path().join("image"),
            directory.path().join("plain"),
            directory.path().join("other"),
        );
        let sector: Vec<u8> = (0..512).map(|i| (i % 251) as u8).collect();
        let mut disk = vec![0; 512 * 3000];
        std::fs::write(&image, [vec![0; 512], sector.clone()].concat()).unwrap();
        disk[512 * 2500..512 * 2501].copy_from_slice(&sector);
        std::fs::write(&plain, &disk).unwrap();
        disk[512 * 2500] ^= 1;
        std::fs::write(&other, &disk).unwrap();
        let call = Call::new();
        let known = Fingerprints::of(&image, &call).unwrap();
        assert_eq!(known.len(), 1, "the blank sector does not count");
        assert_eq!(known.found_in(&plain, &call).unwrap(), 1);
        assert_eq!(known.found_in(&other, &call).unwrap(), 0);
    }
}
