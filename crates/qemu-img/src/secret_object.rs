use std::ffi::OsString;
use std::fmt;

use strongroom_exec::CommandSpec;
use strongroom_secret::SecretFile;

use crate::option_list::OptionList;

/// The name by which options of one command refer to a secret object of the same command.
///
/// Only [`SecretObjects`] makes them, one for each key in the order in which the command needs them: two keys of one
/// command cannot have the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretId(usize);

impl fmt::Display for SecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sec{}", self.0)
    }
}

/// A key under a name, as `--object secret,...` gives it to QEMU.
///
/// It borrows the key: it cannot outlive it.
#[derive(Debug, Clone)]
pub struct SecretObject<'k> {
    id: SecretId,
    key: &'k SecretFile,
}

impl<'k> SecretObject<'k> {
    /// The name.
    #[must_use]
    pub fn id(&self) -> &SecretId {
        &self.id
    }

    /// What follows `--object` in this command, which from now on hands the key over.
    #[must_use]
    pub fn argument(&self, command: &mut CommandSpec<'k>) -> OsString {
        let path = self.key.path_in_child(|descriptor| command.pass(descriptor));
        let mut list = OptionList::of("secret");
        list.push("id", self.id.to_string());
        list.push("file", path);
        list.into_argument()
    }
}

/// The keys of one command, each under its own name.
#[derive(Debug, Clone, Default)]
pub struct SecretObjects<'k>(Vec<SecretObject<'k>>);

impl<'k> SecretObjects<'k> {
    /// No keys yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key and says its name.
    pub fn add(&mut self, key: &'k SecretFile) -> SecretId {
        let id = SecretId(self.0.len());
        self.0.push(SecretObject { id: id.clone(), key });
        id
    }

    /// The objects in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &SecretObject<'k>> {
        self.0.iter()
    }
}
