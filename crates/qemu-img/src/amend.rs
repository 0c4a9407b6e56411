use std::os::fd::BorrowedFd;

use strongroom_exec::{CommandSpec, Completed, Program};
use strongroom_secret::SecretFile;

use crate::answer::done;
use crate::command::{Command, CommandLine, Condition, Layers, Steps};
use crate::node::Node;
use crate::option_list::OptionList;
use crate::{Encrypted, Image, ImageFormat, KeyDerivation, Operation, QemuImgError, Refusal};

/// The number of keyslots in a LUKS1 header.
const SLOTS: u8 = 8;

/// `qemu-img amend`: adds and removes keys of an encrypted image. The content and the key that encrypts it stay the same.
///
/// The image is opened with a key that it has, and [`QemuImg::run`](crate::QemuImg::run) opens it once more afterwards, with
/// that key and with one that was added: [`QemuImgError::Unproven`] when one of them fails. A keyslot is written in place:
/// keep a copy of the header.
///
/// Before a key is removed, the removal is rehearsed: written to a file in memory instead of the image, which is then opened
/// with the key of the description. When that fails, the removal is refused. It takes three runs of the tool more, two of
/// which try the keys. What another process does to the keyslots meanwhile is not seen.
#[derive(Debug, Clone)]
pub struct Amend<'k> {
    node: Node<'k>,
    change: Change<'k>,
}

#[derive(Debug, Clone)]
enum Change<'k> {
    Add {
        key: &'k SecretFile,
        derivation: KeyDerivation,
        slot: Option<u8>,
    },
    RemoveKey(&'k SecretFile),
    RemoveSlot {
        slot: u8,
        even_last: bool,
    },
}

impl<'k> Amend<'k> {
    /// Adds a key in the first free keyslot. The same key again takes another slot. It takes about a second, whatever
    /// `derivation` says.
    #[must_use]
    pub fn add_key(image: &Image<'k, Encrypted>, key: &'k SecretFile, derivation: KeyDerivation) -> Self {
        Self {
            node: image.node.clone(),
            change: Change::Add {
                key,
                derivation,
                slot: None,
            },
        }
    }

    /// Adds a key in this keyslot, which must be free.
    #[must_use]
    pub fn add_key_in_slot(
        image: &Image<'k, Encrypted>,
        key: &'k SecretFile,
        derivation: KeyDerivation,
        slot: u8,
    ) -> Self {
        Self {
            node: image.node.clone(),
            change: Change::Add {
                key,
                derivation,
                slot: Some(slot),
            },
        }
    }

    /// Erases every keyslot that this key opens, but never the last one of the image. Refused when it has the passphrase by
    /// which the image is described.
    #[must_use]
    pub fn remove_key(image: &Image<'k, Encrypted>, key: &'k SecretFile) -> Self {
        Self {
            node: image.node.clone(),
            change: Change::RemoveKey(key),
        }
    }

    /// Erases this keyslot, but never the last one of the image. Refused when it is the only one that the key opens by which
    /// the image is described.
    #[must_use]
    pub fn remove_slot(image: &Image<'k, Encrypted>, slot: u8) -> Self {
        Self {
            node: image.node.clone(),
            change: Change::RemoveSlot {
                slot,
                even_last: false,
            },
        }
    }

    /// Erases this keyslot, even the last one: then nothing opens the image any more, except a copy of its header.
    ///
    /// The image is opened first, with a key of this or another slot: of several slots, erase that of the given key last.
    #[must_use]
    pub fn destroy_slot(image: &Image<'k, Encrypted>, slot: u8) -> Self {
        Self {
            node: image.node.clone(),
            change: Change::RemoveSlot {
                slot,
                even_last: true,
            },
        }
    }
}

impl<'k> Amend<'k> {
    pub(crate) fn node(&self) -> &Node<'k> {
        &self.node
    }

    /// The same with what it writes kept in a scratch file.
    pub(crate) fn staged<'s>(&self, scratch: BorrowedFd<'s>) -> Amend<'s>
    where
        'k: 's,
    {
        let mut staged: Amend<'s> = self.clone();
        staged.node.scratch = Some(scratch);
        staged
    }
}

impl<'k> Steps<'k> for Amend<'k> {
    fn conditions(&self) -> Vec<Condition<'k>> {
        match self.change {
            _ if self.node.scratch.is_some() => Vec::new(),
            Change::RemoveKey(_) | Change::RemoveSlot { even_last: false, .. } => {
                vec![Condition::KeyStays(self.clone())]
            }
            Change::Add { .. } | Change::RemoveSlot { even_last: true, .. } => Vec::new(),
        }
    }

    fn to_prove(&self) -> Vec<Layers<'k>> {
        let remaining = Layers(self.node.clone());
        match self.change {
            _ if self.node.scratch.is_some() => Vec::new(),
            Change::Add { key, .. } => {
                let mut added = self.node.clone();
                added.key = Some(key);
                vec![Layers(added), remaining]
            }
            Change::RemoveKey(_) | Change::RemoveSlot { even_last: false, .. } => vec![remaining],
            Change::RemoveSlot { even_last: true, .. } => Vec::new(),
        }
    }
}

impl<'k> Command<'k> for Amend<'k> {
    type Answer = ();

    fn operation(&self) -> Operation {
        Operation::Amend
    }

    fn spec(&self, program: &Program) -> Result<CommandSpec<'k>, Refusal> {
        let node = self.node.writable()?;
        let at = if node.format == ImageFormat::Qcow2 {
            "encrypt."
        } else {
            ""
        };
        let mut line = CommandLine::new(Operation::Amend);
        line.option("-q");
        line.image(node)?;
        let mut list = OptionList::default();
        match &self.change {
            Change::Add {
                key,
                derivation,
                slot,
            } => {
                let id = line.secrets.add(key);
                list.push(&format!("{at}state"), "active");
                list.push(&format!("{at}new-secret"), id.to_string());
                if let Some(slot) = slot {
                    list.push(&format!("{at}keyslot"), checked_slot(*slot)?);
                }
                derivation.write(&mut list, at);
            }
            Change::RemoveKey(key) => {
                if node.key.is_some_and(|own| std::ptr::eq(own, *key)) {
                    return Err(Refusal::KeyThatGoes {
                        path: node.path().to_owned(),
                    });
                }
                let id = line.secrets.add(key);
                list.push(&format!("{at}state"), "inactive");
                list.push(&format!("{at}old-secret"), id.to_string());
            }
            Change::RemoveSlot { slot, even_last } => {
                if *even_last {
                    line.option("--force");
                }
                list.push(&format!("{at}state"), "inactive");
                list.push(&format!("{at}keyslot"), checked_slot(*slot)?);
            }
        }
        line.pair("-o", list.into_argument());
        Ok(line.finish(program))
    }

    fn answer(&self, completed: &Completed) -> Result<(), QemuImgError> {
        let stderr = String::from_utf8_lossy(&completed.stderr);
        let last_key = [
            "All the active keyslots match",
            "Attempt to erase the only active keyslot",
        ];
        if completed.code != 0 && last_key.iter().any(|text| stderr.contains(text)) {
            return Err(Refusal::LastKey {
                path: self.node.path().to_owned(),
            }
            .into());
        }
        done(Operation::Amend, completed)
    }
}

fn checked_slot(slot: u8) -> Result<String, Refusal> {
    if slot < SLOTS {
        Ok(slot.to_string())
    } else {
        Err(Refusal::NoSuchSlot { slot })
    }
}
