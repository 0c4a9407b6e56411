use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// How much is looked at in one piece, in bytes.
const PIECE: usize = 1 << 20;

/// The first file or device, among these and below these directories, in which one of the needles lies.
pub(crate) fn found_in(paths: &[PathBuf], needles: &[Vec<u8>]) -> io::Result<Option<PathBuf>> {
    for path in paths {
        let kind = fs::metadata(path)?.file_type();
        let found = if kind.is_dir() {
            below(path, needles)?
        } else {
            file(path, needles)?
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Links are not followed: what they lead to is not the pool's, or is found where it lies.
fn below(directory: &Path, needles: &[Vec<u8>]) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let found = if kind.is_dir() {
            below(&entry.path(), needles)?
        } else if kind.is_file() {
            file(&entry.path(), needles)?
        } else {
            None
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn file(path: &Path, needles: &[Vec<u8>]) -> io::Result<Option<PathBuf>> {
    let longest = needles.iter().map(Vec::len).max().unwrap_or(0);
    let mut source = File::open(path)?;
    let (mut piece, zeros) = (vec![0; PIECE], vec![0; PIECE]);
    let mut kept: Vec<u8> = Vec::new();
    loop {
        let length = source.read(&mut piece)?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else {
            return Ok(None);
        };
        // Most of a disk is holes.
        if zeros.get(..length) == Some(read) {
            kept.clear();
            continue;
        }
        kept.extend_from_slice(read);
        if holds_one(&kept, needles) {
            return Ok(Some(path.to_owned()));
        }
        // A needle may lie across two pieces.
        let start = kept.len().saturating_sub(longest);
        kept.drain(..start);
    }
}

fn holds_one(bytes: &[u8], needles: &[Vec<u8>]) -> bool {
    needles.iter().any(|needle| {
        let Some(first) = needle.first() else { return false };
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| byte == first) {
            let (_, candidate) = rest.split_at(at);
            if candidate.starts_with(needle) {
                return true;
            }
            rest = candidate.get(1..).unwrap_or_default();
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_in_any_file_below_and_across_pieces() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("one/two");
        fs::create_dir_all(&inner).unwrap();
        let mut bytes = vec![0; 3 * PIECE];
        bytes[2 * PIECE - 3..2 * PIECE + 3].copy_from_slice(b"needle");
        let (file, other) = (inner.join("file"), inner.join("other"));
        fs::write(&file, bytes).unwrap();
        fs::write(&other, b"needl").unwrap();
        let found =
            |paths: &[PathBuf], needle: &[u8]| found_in(paths, &[b"none".to_vec(), needle.to_vec()]).unwrap();
        let all = [directory.path().to_owned()];
        assert_eq!(found(&all, b"needle"), Some(file.clone()));
        assert_eq!(found(&[other.clone(), file.clone()], b"needle"), Some(file));
        assert_eq!(found(&[other], b"needle"), None);
        assert_eq!(found(&all, b"sought"), None);
    }

    #[test]
    fn what_a_link_leads_to_is_not_searched_and_what_is_not_there_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let (inside, outside) = (directory.path().join("in"), directory.path().join("out"));
        fs::create_dir(&inside).unwrap();
        fs::write(&outside, b"needle").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        assert_eq!(found_in(&[inside], &[b"needle".to_vec()]).unwrap(), None);
        let nowhere = found_in(&[directory.path().join("nowhere")], &[]).unwrap_err();
        assert_eq!(nowhere.kind(), io::ErrorKind::NotFound);
    }
}
