use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::LabError;

/// How much is read at once.
const PIECE: usize = 1 << 20;

/// Where the bytes were found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hit {
    /// The file or device.
    pub path: PathBuf,
    /// The byte of it at which they begin.
    pub offset: u64,
}

/// Looks for these bytes in the raw bytes of files and block devices, and of all files below directories.
///
/// Every place is found, on whatever boundary it lies. Holes of sparse files are not read, so what is looked for must not
/// have a zero byte. Sockets, pipes and links below a directory are left out.
///
/// # Errors
/// [`LabError::Search`] for no bytes, a zero byte, or when there was not one byte to look into; [`LabError::Io`] for
/// what cannot be read: a search that could not look everywhere has not found nothing.
pub fn find_in<P: AsRef<Path>>(
    paths: impl IntoIterator<Item = P>,
    needle: impl AsRef<[u8]>,
) -> Result<Vec<Hit>, LabError> {
    let needle = needle.as_ref();
    let vain = |what: &str| {
        Err(LabError::Search {
            what: what.to_owned(),
        })
    };
    if needle.is_empty() || needle.contains(&0) {
        return vain("there is nothing to look for, or it has a zero byte, which holes are made of");
    }
    let mut search = Search {
        needle,
        hits: Vec::new(),
        bytes: 0,
    };
    let mut named = String::new();
    for path in paths {
        named.push_str(&format!(" {}", path.as_ref().display()));
        search.path(path.as_ref(), true)?;
    }
    if search.bytes == 0 {
        return vain(&format!("there is no data in{named}"));
    }
    Ok(search.hits)
}

struct Search<'n> {
    needle: &'n [u8],
    hits: Vec<Hit>,
    bytes: u64,
}

impl Search<'_> {
    fn path(&mut self, path: &Path, named: bool) -> Result<(), LabError> {
        // What is named may be a link, as disks are; what is found below a directory must not lead out of it.
        let found = if named {
            fs::metadata(path)
        } else {
            fs::symlink_metadata(path)
        };
        let kind = found.map_err(LabError::io("look at", path))?.file_type();
        if kind.is_dir() {
            for entry in fs::read_dir(path).map_err(LabError::io("list", path))? {
                self.path(&entry.map_err(LabError::io("list", path))?.path(), false)?;
            }
        } else if kind.is_file() || (named && kind.is_block_device()) {
            let file = File::open(path).map_err(LabError::io("open", path))?;
            self.file(path, &file).map_err(LabError::io("search", path))?;
        } else if named {
            return Err(LabError::Search {
                what: format!("{} is no file, directory or block device", path.display()),
            });
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, file: &File) -> std::io::Result<()> {
        let mut at = 0;
        loop {
            let (begin, end) = match seek(file, SeekFrom::Data(at)) {
                Ok(begin) => (begin, seek(file, SeekFrom::Hole(begin))?),
                // No data from here on.
                Err(Errno::NXIO) => return Ok(()),
                // Block devices have no holes, and say so.
                Err(Errno::INVAL) => (at, u64::MAX),
                Err(e) => return Err(e.into()),
            };
            if self.range(path, file, begin, end)? {
                return Ok(());
            }
            at = end;
        }
    }

    /// Whether this was the end of the file.
    fn range(&mut self, path: &Path, file: &File, begin: u64, end: u64) -> std::io::Result<bool> {
        let mut piece = vec![0; PIECE + self.needle.len()];
        let (mut at, mut kept) = (begin, 0);
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let count = file.read_at(&mut piece[kept..kept + wanted], at)?;
            if count == 0 {
                return Ok(true);
            }
            let full = &piece[..kept + count];
            let first = at - kept as u64;
            self.hits.extend(places(full, self.needle).map(|place| Hit {
                path: path.to_owned(),
                offset: first + place as u64,
            }));
            self.bytes += count as u64;
            at += count as u64;
            // What may be the beginning of a hit goes before the next piece.
            let keep = full.len().min(self.needle.len() - 1);
            let from = full.len() - keep;
            piece.copy_within(from..from + keep, 0);
            kept = keep;
        }
        Ok(false)
    }
}

/// Where the needle begins in the bytes.
fn places<'h>(bytes: &'h [u8], needle: &'h [u8]) -> impl Iterator<Item = usize> + 'h {
    let first = needle.first().copied();
    let last = bytes.len().saturating_sub(needle.len() - 1);
    bytes[..last.min(bytes.len())]
        .iter()
        .enumerate()
        .filter(move |(_, byte)| Some(**byte) == first)
        .map(|(at, _)| at)
        .filter(move |at| bytes[*at..].starts_with(needle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(path: &Path, needle: &str) -> Vec<u64> {
        find_in([path], needle)
            .unwrap()
            .iter()
            .map(|hit| hit.offset)
            .collect()
    }

    #[test]
    fn bytes_are_found_across_the_pieces_in_which_a_file_is_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("image");
        let piece = PIECE as u64;
        let file = File::create(&path).unwrap();
        let expected = [0, 5000, piece - 3, 2 * piece - 1, 3 * piece, 4 * piece - 6];
        // No holes: each range of data is read from its own beginning.
        file.write_all_at(&vec![b'-'; 4 * PIECE], 0).unwrap();
        for at in expected {
            file.write_all_at(b"CANARY", at).unwrap();
        }
        assert_eq!(offsets(&path, "CANARY"), expected);
        assert_eq!(offsets(&path, "CANARx"), [0; 0]);
    }

    #[test]
    fn holes_are_not_read_and_what_lies_behind_them_is_found() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("sparse");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 42).unwrap();
        let far = (1 << 42) - 6;
        file.write_all_at(b"CANARY", far).unwrap();
        assert_eq!(offsets(&path, "CANARY"), [far]);
    }

    #[test]
    fn a_search_that_would_prove_nothing_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let empty = place.path().join("empty");
        File::create(&empty).unwrap().set_len(1 << 20).unwrap();
        let vain = |error: LabError| assert!(matches!(error, LabError::Search { .. }), "{error}");
        vain(find_in([&empty], "x").unwrap_err());
        vain(find_in([place.path()], "x").unwrap_err());
        vain(find_in([&empty], "").unwrap_err());
        vain(find_in([&empty], "a\0b").unwrap_err());
        vain(find_in([Path::new("/dev/null")], "x").unwrap_err());
        let missing = find_in([place.path().join("missing")], "x").unwrap_err();
        assert!(matches!(missing, LabError::Io { .. }), "{missing}");
    }

    #[test]
    fn a_directory_is_searched_with_all_below_and_no_link_out_of_it() {
        let (place, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(place.path().join("deep")).unwrap();
        fs::write(place.path().join("deep/file"), "a CANARY").unwrap();
        fs::write(other.path().join("file"), "CANARY").unwrap();
        std::os::unix::fs::symlink(other.path(), place.path().join("link")).unwrap();
        let hits = find_in([place.path()], "CANARY").unwrap();
        let expected = Hit {
            path: place.path().join("deep/file"),
            offset: 2,
        };
        assert_eq!(hits, [expected]);
    }
}
