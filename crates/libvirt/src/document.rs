use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::LibvirtError;
use crate::xml::Element;

/// An XML document in memory that virsh reads as a file: nothing of it is on a file system, and no other process can put something
/// else in its place.
#[derive(Debug)]
pub struct Document(File);

impl Document {
    /// The element, written.
    ///
    /// # Errors
    /// [`LibvirtError::Refused`] when it cannot be written as XML, [`LibvirtError::Document`] when there is no memory for it.
    pub fn new(element: &Element) -> Result<Self, LibvirtError> {
        Self::from_xml(&element.to_xml()?)
    }

    /// This text as it is.
    ///
    /// # Errors
    /// [`LibvirtError::Document`].
    pub fn from_xml(xml: &str) -> Result<Self, LibvirtError> {
        write(xml).map(Self).map_err(LibvirtError::Document)
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn write(xml: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("libvirt-xml", MemfdFlags::CLOEXEC)?);
    file.write_all(xml.as_bytes())?;
    Ok(file)
}
