use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use strongroom_exec::CommandSpec;
use strongroom_secret::SecretFile;

use crate::Document;

/// How long a command may take unless it says otherwise. A guest with several disks under costly key derivation takes seconds for
/// each.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A command of virsh in the making: which one, with which words, and what it inherits.
///
/// It is a value: nothing runs before [`Connection::run`](crate::Connection::run) is given it. Every operation of this crate makes one.
#[derive(Debug, Clone)]
pub struct Virsh<'k> {
    action: &'static str,
    words: Vec<Word<'k>>,
    limit: Duration,
}

#[derive(Debug, Clone)]
enum Word<'k> {
    Plain(OsString),
    Inherited(BorrowedFd<'k>),
    Secret(&'k SecretFile),
    SecretNumber(&'k SecretFile),
}

impl<'k> Virsh<'k> {
    /// The command of this name, such as `domstate`.
    #[must_use]
    pub fn new(action: &'static str) -> Self {
        Self {
            action,
            words: Vec::new(),
            limit: LIMIT,
        }
    }

    /// The same with one more word.
    #[must_use]
    pub fn word(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(Word::Plain(word.into()));
        self
    }

    /// The same with this option and its value as two words. A value cannot be taken for an option: virsh takes the word after
    /// an option that has a value as that value, whatever it begins with.
    #[must_use]
    pub fn option(self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.word(name).word(value)
    }

    /// The same with this option, whose value is a file that has the document.
    #[must_use]
    pub fn document(mut self, name: &'static str, document: &'k Document) -> Self {
        self = self.word(name);
        self.words.push(Word::Inherited(document.descriptor()));
        self
    }

    /// The same with this option, whose value is a file that has the key.
    #[must_use]
    pub fn key(mut self, name: &'static str, key: &'k SecretFile) -> Self {
        self = self.word(name);
        self.words.push(Word::Secret(key));
        self
    }

    /// The same with this option, whose value is the number of a descriptor that has the key.
    #[must_use]
    pub fn key_number(mut self, name: &'static str, key: &'k SecretFile) -> Self {
        self = self.word(name);
        self.words.push(Word::SecretNumber(key));
        self
    }

    /// The same with another limit on the time it takes than [`LIMIT`].
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Its name.
    #[must_use]
    pub fn action(&self) -> &'static str {
        self.action
    }

    pub(crate) fn finish(&self, mut spec: CommandSpec<'k>) -> CommandSpec<'k> {
        spec = spec.timeout(self.limit).arg(self.action);
        for word in &self.words {
            let word = match word {
                Word::Plain(word) => word.clone(),
                Word::Inherited(descriptor) => spec.pass(*descriptor).into(),
                Word::Secret(key) => key.path_in_child(|descriptor| spec.pass(descriptor)).into(),
                Word::SecretNumber(key) => {
                    let path = key.path_in_child(|descriptor| spec.pass(descriptor));
                    path.file_name().unwrap_or_default().to_owned()
                }
            };
            spec.push(word);
        }
        spec
    }
}
