//! Reading with bounds: every read names what it reads and how much, and is checked against what there is.

use std::io::{self, Read, Seek, SeekFrom};

use crate::{Format, ImageError};

/// A part of a reader, for one format. Offsets count from its beginning.
pub(crate) struct Window<'r, R> {
    reader: &'r mut R,
    format: Format,
    start: u64,
    length: u64,
}

impl<'r, R: Read + Seek> Window<'r, R> {
    /// All of the reader.
    pub(crate) fn whole(reader: &'r mut R, format: Format) -> Result<Self, ImageError> {
        let length = reader.seek(SeekFrom::End(0)).map_err(|source| ImageError::Read {
            what: "size of the disk",
            source,
        })?;
        Ok(Self {
            reader,
            format,
            start: 0,
            length,
        })
    }

    /// The part of this window that begins at `offset` and has `length` bytes, read as another format.
    pub(crate) fn part(
        &mut self,
        what: &'static str,
        offset: u64,
        length: u64,
        format: Format,
    ) -> Result<Window<'_, R>, ImageError> {
        self.check(what, offset, length)?;
        Ok(Window {
            start: self.start.saturating_add(offset),
            reader: self.reader,
            format,
            length,
        })
    }

    /// How many bytes there are.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Checks that this range is there.
    pub(crate) fn check(&self, what: &'static str, offset: u64, length: u64) -> Result<(), ImageError> {
        let need = offset.saturating_add(length);
        if need > self.length {
            return Err(self.truncated(what, need, self.length));
        }
        Ok(())
    }

    /// Reads a range, all of it. The caller bounds `length`.
    pub(crate) fn bytes(
        &mut self,
        what: &'static str,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, ImageError> {
        self.check(what, offset, length as u64)?;
        let failed = |source| ImageError::Read { what, source };
        self.reader
            .seek(SeekFrom::Start(self.start.saturating_add(offset)))
            .map_err(failed)?;
        let mut bytes = vec![0; length];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            // It became shorter since it was measured.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.truncated(what, offset.saturating_add(length as u64), offset))
            }
            Err(e) => Err(failed(e)),
        }
    }

    /// Reads a range of fixed length.
    pub(crate) fn fields(
        &mut self,
        what: &'static str,
        offset: u64,
        length: usize,
    ) -> Result<Fields, ImageError> {
        Ok(Fields {
            bytes: self.bytes(what, offset, length)?,
            format: self.format,
            what,
        })
    }

    fn truncated(&self, what: &'static str, need: u64, have: u64) -> ImageError {
        ImageError::Truncated {
            format: self.format,
            what,
            need,
            have,
        }
    }
}

/// Bytes that hold numbers and texts at fixed places. All numbers are big-endian.
pub(crate) struct Fields {
    bytes: Vec<u8>,
    format: Format,
    what: &'static str,
}

impl Fields {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn slice(&self, at: usize, length: usize) -> Result<&[u8], ImageError> {
        let end = at.saturating_add(length);
        self.bytes.get(at..end).ok_or(ImageError::Truncated {
            format: self.format,
            what: self.what,
            need: end as u64,
            have: self.bytes.len() as u64,
        })
    }

    pub(crate) fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], ImageError> {
        let mut array = [0; N];
        array.copy_from_slice(self.slice(at, N)?);
        Ok(array)
    }

    pub(crate) fn u16(&self, at: usize) -> Result<u16, ImageError> {
        self.array(at).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&self, at: usize) -> Result<u32, ImageError> {
        self.array(at).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&self, at: usize) -> Result<u64, ImageError> {
        self.array(at).map(u64::from_be_bytes)
    }

    /// A text that ends with a NUL inside its place and prints: visible ASCII, and spaces where `spaces` allows them.
    /// It may be empty.
    fn printable(
        &self,
        field: &'static str,
        at: usize,
        length: usize,
        allowed: impl Fn(u8) -> bool,
    ) -> Result<String, ImageError> {
        let bytes = self.slice(at, length)?;
        let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
        let found = || text.escape_ascii().to_string();
        if text.len() == bytes.len() {
            return Err(ImageError::field(
                self.format,
                field,
                found(),
                "a text ends with a zero byte",
            ));
        }
        if !text.iter().copied().all(allowed) {
            return Err(ImageError::field(
                self.format,
                field,
                found(),
                "it is a printable text",
            ));
        }
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// The name of an algorithm: visible ASCII, not empty.
    pub(crate) fn name(&self, field: &'static str, at: usize, length: usize) -> Result<String, ImageError> {
        let name = self.printable(field, at, length, |b| b.is_ascii_graphic())?;
        if name.is_empty() {
            return Err(ImageError::field(
                self.format,
                field,
                "empty",
                "it names an algorithm",
            ));
        }
        Ok(name)
    }

    /// A text for people: no control characters, UTF-8; `None` when it is empty.
    pub(crate) fn label(
        &self,
        field: &'static str,
        at: usize,
        length: usize,
    ) -> Result<Option<String>, ImageError> {
        let label = self.printable(field, at, length, |b| !b.is_ascii_control())?;
        Ok(Some(label).filter(|text| !text.is_empty()))
    }

    /// A UUID as text: 36 characters, hexadecimal digits in groups of 8, 4, 4, 4 and 12.
    pub(crate) fn uuid(&self, at: usize) -> Result<String, ImageError> {
        let uuid = self.printable("UUID", at, 40, |b| b == b'-' || b.is_ascii_hexdigit())?;
        if !uuid.split('-').map(str::len).eq([8, 4, 4, 4, 12]) {
            return Err(ImageError::field(
                self.format,
                "UUID",
                uuid,
                "a UUID has 36 characters",
            ));
        }
        Ok(uuid)
    }
}
