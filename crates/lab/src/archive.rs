use std::io::{self, Write};

/// An archive in the format that the kernel unpacks as its first root: "newc", in
/// `Documentation/driver-api/early-userspace/buffer-format.rst` of Linux.
#[derive(Debug)]
pub(crate) struct Archive<W> {
    out: W,
    written: u64,
    inode: u32,
}

/// The kinds of file, as stat(2) has them.
const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_777;
const CHARACTER: u32 = 0o020_600;

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            inode: 0,
        }
    }

    /// Paths are absolute; the directories above have to be there before.
    pub(crate) fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY, (0, 0), &[])
    }

    pub(crate) fn symlink(&mut self, path: &str, to: &str) -> io::Result<()> {
        self.entry(path, SYMLINK, (0, 0), to.as_bytes())
    }

    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(path, REGULAR | (mode & 0o7777), (0, 0), content)
    }

    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(path, CHARACTER, (major, minor), &[])
    }

    /// Ends the archive and returns what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.header("TRAILER!!!", 0, (0, 0), 0)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "a file of 4 GiB or more"))?;
        self.inode += 1;
        self.header(path.trim_start_matches('/'), mode, device, size)?;
        self.write(content)?;
        self.pad()
    }

    fn header(&mut self, name: &str, mode: u32, device: (u32, u32), size: u32) -> io::Result<()> {
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        // Inode, mode, uid, gid, links, time, size, device of the file (2), device that it is (2), name, checksum.
        let fields = [
            self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.write(header.as_bytes())?;
        self.write(name.as_bytes())?;
        self.write(&[0])?;
        self.pad()
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(4) - self.written;
        self.write(&[0; 3][..usize::try_from(missing).unwrap_or(0)])
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut archive = Archive::new(Vec::new());
        archive.directory("/etc").unwrap();
        archive.file("/etc/a", 0o644, b"hello").unwrap();
        archive.symlink("/b", "etc/a").unwrap();
        archive.character_device("/dev/console", 5, 1).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        let heads: Vec<&str> = text
            .match_indices("070701")
            .map(|(at, _)| &text[at..at + 110])
            .collect();
        assert_eq!(heads.len(), 5);
        let field = |head: &str, n: usize| u32::from_str_radix(&head[6 + 8 * n..14 + 8 * n], 16).unwrap();
        assert_eq!(field(heads[0], 1), 0o040_755);
        assert_eq!((field(heads[1], 1), field(heads[1], 6)), (0o100_644, 5));
        assert_eq!((field(heads[2], 1), field(heads[2], 6)), (0o120_777, 5));
        assert_eq!((field(heads[3], 9), field(heads[3], 10)), (5, 1));
        assert_eq!(field(heads[3], 11), "dev/console".len() as u32 + 1);
        let at = text.find("etc/a\0").unwrap();
        assert!(
            text[at..].starts_with("etc/a\0hello\0\0\x00070701"),
            "{:?}",
            &text[at..at + 24]
        );
        assert!(text.contains("TRAILER!!!\0"));
    }
}
