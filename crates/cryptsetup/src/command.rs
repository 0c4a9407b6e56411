//! The command lines, as values that compare. They are pure: nothing is looked at, nothing runs.
//!
//! [`Cryptsetup`](crate::Cryptsetup) runs them with the checks before and after that make them safe; cryptsetup itself has
//! next to none when nobody sits at a terminal; where it holds the lock of a file itself, it adds `--disable-locks`. `luksFormat` is made by [`Cleared::command`](crate::Cleared::command), which
//! exists only for a device that was found blank.
//!
//! Keys are always files, which the tool takes whole; without `--key-file` it would stop at a newline. The version of LUKS is
//! always said where the tool heeds it: its word `luks` means 2 in one build and 1 in another.

use std::path::Path;
use std::time::Duration;

use strongroom_exec::{CommandSpec, Program};
use strongroom_secret::SecretFile;
use strongroom_types::{EncryptionFormat, GuestSize, SECTOR};

use crate::{Access, Discards, MappingName, OpenOptions, Pbkdf, Target};

/// How long any action may take. The costliest is to try a passphrase on every keyslot of a slow machine.
pub const LIMIT: Duration = Duration::from_secs(300);

/// A type that no token has. Without it, cryptsetup tries the tokens of a LUKS2 header before the key file,
/// and a key that lies in the kernel's keyring opens the volume whatever passphrase was given.
const NO_TOKEN: &str = "none";

/// The word of cryptsetup for a version of LUKS.
pub(crate) const fn word(format: EncryptionFormat) -> &'static str {
    match format {
        EncryptionFormat::Luks1 => "luks1",
        EncryptionFormat::Luks2 => "luks2",
    }
}

pub(crate) fn action<'k>(program: &Program, action: &str) -> CommandSpec<'k> {
    CommandSpec::new(program.clone())
        .timeout(LIMIT)
        .arg(action)
        .arg("--batch-mode")
}

fn typed<'k>(program: &Program, name: &str, format: EncryptionFormat) -> CommandSpec<'k> {
    action(program, name).arg("--type").arg(word(format))
}

pub(crate) fn key_file<'k>(mut spec: CommandSpec<'k>, key: &'k SecretFile) -> CommandSpec<'k> {
    let path = key.path_in_child(|descriptor| spec.pass(descriptor));
    spec.arg("--key-file").arg(path)
}

/// Which cryptsetup it is.
#[must_use]
pub fn version(program: &Program) -> CommandSpec<'static> {
    CommandSpec::new(program.clone()).timeout(LIMIT).arg("--version")
}

/// Whether there is a header of this version.
#[must_use]
pub fn is_luks(program: &Program, target: &Target) -> CommandSpec<'static> {
    typed(program, "isLuks", target.format()).arg(target.header_device())
}

/// The UUID in the header.
#[must_use]
pub fn uuid(program: &Program, target: &Target) -> CommandSpec<'static> {
    typed(program, "luksUUID", target.format()).arg(target.header_device())
}

/// The metadata of a LUKS2 header as JSON.
#[must_use]
pub fn dump_json(program: &Program, header: &Path) -> CommandSpec<'static> {
    typed(program, "luksDump", EncryptionFormat::Luks2)
        .arg("--dump-json-metadata")
        .arg(header)
}

/// Whether the key opens any keyslot, or the one of this number. Needs no device-mapper.
#[must_use]
pub fn test_passphrase<'k>(
    program: &Program,
    target: &Target,
    key: &'k SecretFile,
    slot: Option<u8>,
) -> CommandSpec<'k> {
    let mut spec = key_file(
        typed(program, "open", target.format()).arg("--test-passphrase"),
        key,
    );
    if target.format() == EncryptionFormat::Luks2 {
        spec = spec.arg("--token-type").arg(NO_TOKEN);
    }
    if let Some(slot) = slot {
        spec = spec.arg("--key-slot").arg(slot.to_string());
    }
    spec.arg(target.header_device())
}

/// Adds a key to the first free keyslot.
#[must_use]
pub fn add_key<'k>(
    program: &Program,
    target: &Target,
    existing: &'k SecretFile,
    new: &'k SecretFile,
    pbkdf: Pbkdf,
) -> CommandSpec<'k> {
    let spec = typed(program, "luksAddKey", target.format()).args(pbkdf.arguments(target.format()));
    let mut spec = key_file(spec, existing).arg(target.header_device());
    let path = new.path_in_child(|descriptor| spec.pass(descriptor));
    spec.arg(path)
}

/// Overwrites one keyslot with a new key. When that fails half-way, neither key opens the keyslot.
#[must_use]
pub fn change_key<'k>(
    program: &Program,
    target: &Target,
    slot: u8,
    old: &'k SecretFile,
    new: &'k SecretFile,
    pbkdf: Pbkdf,
) -> CommandSpec<'k> {
    let spec = typed(program, "luksChangeKey", target.format()).args(pbkdf.arguments(target.format()));
    let mut spec = key_file(spec, old)
        .arg("--key-slot")
        .arg(slot.to_string())
        .arg(target.header_device());
    let path = new.path_in_child(|descriptor| spec.pass(descriptor));
    spec.arg(path)
}

/// Removes the first keyslot that the key opens, also the last of all.
#[must_use]
pub fn remove_key<'k>(program: &Program, target: &Target, key: &'k SecretFile) -> CommandSpec<'k> {
    key_file(typed(program, "luksRemoveKey", target.format()), key).arg(target.header_device())
}

/// Removes a keyslot, also the last of all. The key must open one; on LUKS1, the one that goes will do.
#[must_use]
pub fn kill_slot<'k>(
    program: &Program,
    target: &Target,
    slot: u8,
    remaining: &'k SecretFile,
) -> CommandSpec<'k> {
    key_file(typed(program, "luksKillSlot", target.format()), remaining)
        .arg(target.header_device())
        .arg(slot.to_string())
}

/// Removes every keyslot. cryptsetup 2.6.1 takes no notice of `--type` here.
#[must_use]
pub fn erase(program: &Program, target: &Target) -> CommandSpec<'static> {
    typed(program, "luksErase", target.format()).arg(target.header_device())
}

/// Copies header and keyslots into a new file.
#[must_use]
pub fn back_up_header(program: &Program, target: &Target, to: &Path) -> CommandSpec<'static> {
    typed(program, "luksHeaderBackup", target.format())
        .arg("--header-backup-file")
        .arg(to)
        .arg(target.header_device())
}

/// Writes header and keyslots of a backup over whatever is there.
#[must_use]
pub fn restore_header(program: &Program, target: &Target, from: &Path) -> CommandSpec<'static> {
    typed(program, "luksHeaderRestore", target.format())
        .arg("--header-backup-file")
        .arg(from)
        .arg(target.header_device())
}

/// Opens a volume as a mapping.
#[must_use]
pub fn open<'k>(
    program: &Program,
    target: &Target,
    key: &'k SecretFile,
    name: &MappingName,
    options: OpenOptions,
) -> CommandSpec<'k> {
    let mut spec = key_file(typed(program, "open", target.format()), key);
    if target.format() == EncryptionFormat::Luks2 {
        spec = spec.arg("--token-type").arg(NO_TOKEN);
    }
    if options.access == Access::ReadOnly {
        spec = spec.arg("--readonly");
    }
    if options.discards == Discards::Allowed {
        spec = spec.arg("--allow-discards");
    }
    if let Some(header) = target.detached_header() {
        spec = spec.arg("--header").arg(header);
    }
    spec.arg(target.device()).arg(name.as_str())
}

/// Closes a mapping.
#[must_use]
pub fn close(program: &Program, name: &MappingName) -> CommandSpec<'static> {
    action(program, "close").arg(name.as_str())
}

/// What a mapping is.
#[must_use]
pub fn status(program: &Program, name: &MappingName) -> CommandSpec<'static> {
    action(program, "status").arg(name.as_str())
}

/// Fits a mapping to its device, or to a size.
#[must_use]
pub fn resize<'k>(
    program: &Program,
    name: &MappingName,
    size: Option<GuestSize>,
    key: Option<&'k SecretFile>,
) -> CommandSpec<'k> {
    let mut spec = action(program, "resize");
    if let Some(key) = key {
        spec = key_file(spec, key);
    }
    if let Some(size) = size {
        spec = spec.arg("--size").arg((size.get() / SECTOR).to_string());
    }
    spec.arg(name.as_str())
}
