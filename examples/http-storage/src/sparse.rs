use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Copies a file and leaves out what is zeros. The target has its old content or all of the new.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(".new");
    let (mut source, mut target) = (File::open(from)?, File::create(&unfinished)?);
    target.set_len(source.metadata()?.len())?;
    let mut piece = vec![0; 1 << 16];
    loop {
        let length = source.read(&mut piece)?;
        let Some(read) = piece.get(..length).filter(|read| !read.is_empty()) else {
            break;
        };
        if read.iter().all(|byte| *byte == 0) {
            target.seek(SeekFrom::Current(i64::try_from(length).unwrap_or(i64::MAX)))?;
        } else {
            target.write_all(read)?;
        }
    }
    target.sync_all()?;
    fs::rename(&unfinished, to)?;
    to.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_copy_is_the_same_and_takes_no_room_for_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let mut content = vec![0; 8 << 20];
        content[5_000_000..5_000_100].fill(7);
        fs::write(&from, &content).unwrap();
        fs::write(&to, b"old").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), content);
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 1 << 20);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2);
    }
}
