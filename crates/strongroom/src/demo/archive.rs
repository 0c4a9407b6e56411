//! The archive that a Linux kernel unpacks as its first root: "newc", in `Documentation/driver-api/early-userspace/buffer-format.rst`
//! of Linux.

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_755;
const CHARACTER: u32 = 0o020_600;

/// An archive in memory. Paths are relative; a directory comes before what is in it.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(crate) fn directory(&mut self, path: &str) -> Result<()> {
        self.entry(path, DIRECTORY, (0, 0), &[])
    }

    /// A file that may be run.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        self.entry(path, REGULAR, (0, 0), content)
    }

    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) -> Result<()> {
        self.entry(path, CHARACTER, (major, minor), &[])
    }

    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entries = 0;
        self.header("TRAILER!!!", 0, (0, 0), 0)?;
        Ok(self.bytes)
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        let size = u32::try_from(content.len()).with_context(|| format!("{path} is too large"))?;
        self.entries += 1;
        self.header(path, mode, device, size)?;
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn header(&mut self, name: &str, mode: u32, device: (u32, u32), size: u32) -> Result<()> {
        // Inode, mode, uid, gid, links, time, size, device of the file (2), device that it is (2), name, checksum.
        let name_size = u32::try_from(name.len() + 1)?;
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            name_size,
            0,
        ];
        let numbers: String = fields.iter().map(|field| format!("{field:08X}")).collect();
        self.bytes
            .extend_from_slice(format!("070701{numbers}{name}\0").as_bytes());
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut archive = Archive::default();
        archive.directory("bin").unwrap();
        archive.file("bin/a", b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("07070100000001000041ED"), "{text}");
        let file = text.find("bin/a\0").unwrap();
        assert!(text[file..].starts_with("bin/a\0hello\0\0\x00070701"), "{text}");
        let size = &text[file - 110 + 6 + 6 * 8..][..8];
        assert_eq!(size, "00000005");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"), "{text:?}");
    }
}
