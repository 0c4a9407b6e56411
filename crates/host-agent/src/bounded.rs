//! A disk of which only the beginning may be read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// An open file or device that ends where the disk on it ends.
#[derive(Debug)]
pub(crate) struct Bounded {
    file: File,
    length: u64,
    at: u64,
}

impl Bounded {
    /// The first `length` bytes. Reading begins at the first.
    pub(crate) fn new(file: File, length: u64) -> Self {
        Self { file, length, at: 0 }
    }

    /// How many bytes there are.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The file itself, which does not end there.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.length.saturating_sub(self.at);
        self.file.seek(SeekFrom::Start(self.at))?;
        let read = Read::by_ref(&mut self.file).take(left).read(buffer)?;
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(distance) => self.length.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.at.checked_add_signed(distance),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_behind_the_end_is_not_there() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"disk|behind").unwrap();
        let mut disk = Bounded::new(file, 4);
        let mut text = String::new();
        assert_eq!(disk.read_to_string(&mut text).unwrap(), 4);
        assert_eq!(text, "disk");
        assert_eq!(disk.seek(SeekFrom::End(-1)).unwrap(), 3);
        assert_eq!(disk.seek(SeekFrom::Current(2)).unwrap(), 5);
        assert_eq!(disk.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(disk.seek(SeekFrom::Start(1)).unwrap(), 1);
        let mut bytes = [0; 8];
        assert_eq!(disk.read(&mut bytes).unwrap(), 3);
        assert_eq!(&bytes, b"isk\0\0\0\0\0");
        assert_eq!(
            disk.seek(SeekFrom::Current(-9)).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
