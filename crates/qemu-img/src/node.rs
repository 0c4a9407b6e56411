use std::ffi::OsString;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::Path;

use serde_json::{Value, json};
use strongroom_secret::SecretFile;

use crate::option_list::OptionList;
use crate::rehearsal::scratch_path;
use crate::{Location, Refusal, SecretObjects};

/// The longest backing file name that a qcow2 header holds, in bytes (`docs/interop/qcow2` of QEMU).
pub(crate) const LONGEST_BACKING_NAME: usize = 1023;

/// The formats that this crate opens. Each is named to QEMU; none is ever probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageFormat {
    /// Sector after sector.
    Raw,
    /// Sector after sector behind a LUKS1 header, encrypted.
    Luks,
    /// QEMU's copy-on-write format, plain or with a LUKS1 header inside.
    Qcow2,
}

impl ImageFormat {
    /// QEMU's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Luks => "luks",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An image as QEMU's block layer sees it, whichever side of the cipher it lies on.
#[derive(Debug, Clone)]
pub(crate) struct Node<'k> {
    pub(crate) format: ImageFormat,
    pub(crate) location: Location,
    pub(crate) key: Option<&'k SecretFile>,
    pub(crate) base: Option<Box<Node<'k>>>,
    pub(crate) by_flags: bool,
    pub(crate) shared: bool,
    pub(crate) opaque: bool,
    /// Where writes go instead, for a rehearsal.
    pub(crate) scratch: Option<BorrowedFd<'k>>,
    /// So much of what the guest sees, and nothing else: where it begins, and its length.
    pub(crate) part: Option<(u64, u64)>,
}

/// How a command names an image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// `-f FORMAT` and a file name.
    Flags(&'static str, OsString),
    /// `--image-opts` and all that there is to say.
    Options(OsString),
}

impl<'k> Node<'k> {
    pub(crate) fn new(format: ImageFormat, location: Location, key: Option<&'k SecretFile>) -> Self {
        Self {
            format,
            location,
            key,
            base: None,
            by_flags: false,
            shared: false,
            opaque: false,
            scratch: None,
            part: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.location.path()
    }

    /// Whether some of the content comes out of an encrypted layer.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.key.is_some() || self.base.as_ref().is_some_and(|base| base.is_encrypted())
    }

    /// A part of what the guest sees, as an image of its own. Its header is that of the whole.
    pub(crate) fn part(&self, start: u64, length: u64) -> Self {
        Self {
            part: Some((start, length)),
            ..self.clone()
        }
    }

    /// The same, refused when it is described as shared.
    pub(crate) fn writable(&self) -> Result<&Self, Refusal> {
        if self.shared {
            Err(Refusal::SharedForWriting {
                path: self.path().to_owned(),
            })
        } else {
            Ok(self)
        }
    }

    /// The same, refused when it is not qcow2.
    pub(crate) fn qcow2(&self, what: &'static str) -> Result<&Self, Refusal> {
        if self.format == ImageFormat::Qcow2 {
            Ok(self)
        } else {
            Err(Refusal::NotQcow2 {
                path: self.path().to_owned(),
                format: self.format.as_str(),
                what,
            })
        }
    }

    /// Its name in the way that its description asks for.
    pub(crate) fn name(&self, secrets: &mut SecretObjects<'k>) -> Result<Name, Refusal> {
        if !self.by_flags {
            return self.options(secrets).map(Name::Options);
        }
        let cannot = |what| {
            Err(Refusal::FlagsCannotSay {
                path: self.path().to_owned(),
                what,
            })
        };
        if self.base.is_some() {
            return cannot("what its backing file is");
        }
        if self.shared {
            return cannot("that it is shared");
        }
        if self.part.is_some() {
            return cannot("which part of it is meant");
        }
        Ok(Name::Flags(
            self.format.as_str(),
            self.location.whole()?.to_owned(),
        ))
    }

    /// Its name by options.
    pub(crate) fn options(&self, secrets: &mut SecretObjects<'k>) -> Result<OsString, Refusal> {
        let mut list = OptionList::default();
        self.write(&mut list, "", secrets)?;
        if self.shared {
            list.push("force-share", "on");
        }
        Ok(list.into_argument())
    }

    fn write(&self, list: &mut OptionList, at: &str, secrets: &mut SecretObjects<'k>) -> Result<(), Refusal> {
        let below;
        let at = match self.part {
            None => at,
            Some((start, length)) => {
                list.push(&format!("{at}driver"), "raw");
                list.push(&format!("{at}offset"), start.to_string());
                list.push(&format!("{at}size"), length.to_string());
                below = format!("{at}file.");
                &below
            }
        };
        self.write_place(list, at)?;
        if let Some(key) = self.key {
            let id = secrets.add(key).to_string();
            if self.format == ImageFormat::Qcow2 {
                // Without the format QEMU opens an image that is not encrypted, and leaves the key unused.
                list.push(&format!("{at}encrypt.format"), "luks");
                list.push(&format!("{at}encrypt.key-secret"), id);
            } else {
                list.push(&format!("{at}key-secret"), id);
            }
        }
        match &self.base {
            Some(base) => {
                self.qcow2("a backing file")?;
                base.write(list, &format!("{at}backing."), secrets)
            }
            None => {
                if self.format == ImageFormat::Qcow2 {
                    // Whatever the header names is not opened.
                    list.push(&format!("{at}backing"), "");
                }
                Ok(())
            }
        }
    }

    /// Format and file only: no key, and the backing file is left to the header.
    pub(crate) fn write_place(&self, list: &mut OptionList, at: &str) -> Result<(), Refusal> {
        list.push(&format!("{at}driver"), self.format.as_str());
        let mut below = "file".to_owned();
        if self.scratch.is_some() {
            list.push(&format!("{at}file.driver"), "qcow2");
            list.push(&format!("{at}file.file.driver"), "file");
            list.push(&format!("{at}file.file.filename"), scratch_path());
            list.push(&format!("{at}file.backing.driver"), "raw");
            "file.backing.file".clone_into(&mut below);
        }
        if let Some(size) = self.location.limit() {
            list.push(&format!("{at}{below}.driver"), "raw");
            list.push(&format!("{at}{below}.size"), size.get().to_string());
            below.push_str(".file");
        }
        list.push(&format!("{at}{below}.driver"), self.location.driver());
        list.push(&format!("{at}{below}.filename"), self.location.argument()?);
        Ok(())
    }

    /// As the file name of the form `json:{...}`, for where nothing but a file name is taken.
    pub(crate) fn json(&self, secrets: &mut SecretObjects<'k>) -> Result<OsString, Refusal> {
        Ok(format!("json:{}", self.json_value(secrets)?).into())
    }

    fn json_value(&self, secrets: &mut SecretObjects<'k>) -> Result<Value, Refusal> {
        let path = self.location.argument()?;
        let path = path
            .to_str()
            .ok_or_else(|| Refusal::NotUtf8 { path: path.into() })?;
        let mut node = serde_json::Map::new();
        node.insert("driver".into(), self.format.as_str().into());
        let place = json!({ "driver": self.location.driver(), "filename": path });
        let file = match self.location.limit() {
            None => place,
            Some(size) => json!({ "driver": "raw", "size": size.get(), "file": place }),
        };
        node.insert("file".into(), file);
        if let Some(key) = self.key {
            let id = secrets.add(key).to_string();
            if self.format == ImageFormat::Qcow2 {
                node.insert("encrypt".into(), json!({ "format": "luks", "key-secret": id }));
            } else {
                node.insert("key-secret".into(), id.into());
            }
        }
        if self.format == ImageFormat::Qcow2 {
            let base = self
                .base
                .as_ref()
                .map(|base| base.json_value(secrets))
                .transpose()?;
            node.insert("backing".into(), base.unwrap_or(Value::Null));
        }
        Ok(Value::Object(node))
    }

    /// Its path as a header of an overlay stores it.
    pub(crate) fn backing_name(&self) -> Result<OsString, Refusal> {
        let name = self.location.whole()?;
        if name.len() > LONGEST_BACKING_NAME {
            return Err(Refusal::LongBackingName {
                path: self.path().to_owned(),
                bytes: name.len(),
            });
        }
        Ok(name.to_owned())
    }
}
