//! The command line of every builder, argument by argument. Nothing is run.
#![cfg(test)]

mod content;
mod creation;
mod images;
mod metadata;
mod overlays;
mod parts;
mod refusals;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use expect_test::Expect;
use strongroom_exec::{CommandSpec, Program};
use strongroom_qemu_img::{Command, Refusal};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::GuestSize;

/// Each option with its value on a line, and each operand on a line. An argument with unusual characters is shown as
/// Rust writes it.
fn shown<'k>(command: &impl Command<'k>) -> String {
    let mut text = String::new();
    let mut operands = false;
    for argument in spec(command).unwrap().arguments() {
        let option = argument.as_bytes().first() == Some(&b'-');
        if !text.is_empty() {
            text.push(if operands || option { '\n' } else { ' ' });
        }
        operands |= argument == "--";
        text += &word(argument);
    }
    text + "\n"
}

fn pin<'k>(command: &impl Command<'k>, expected: Expect) {
    expected.assert_eq(&shown(command));
}

fn word(argument: &OsStr) -> String {
    let usual = |c: char| c.is_ascii_alphanumeric() || "-_./,=:@{}[]".contains(c);
    match argument.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(usual) => text.to_owned(),
        _ => format!("{argument:?}"),
    }
}

fn refused<'k>(command: &impl Command<'k>) -> Refusal {
    spec(command).unwrap_err()
}

fn spec<'k, C: Command<'k>>(command: &C) -> Result<CommandSpec<'k>, Refusal> {
    command.spec(&Program::find("qemu-img").expect("apt-get install qemu-utils"))
}

fn key() -> SecretFile {
    SecretFile::new(&Passphrase::generate().unwrap()).unwrap()
}

fn size(mebibytes: u64) -> GuestSize {
    GuestSize::new(mebibytes << 20).unwrap()
}

fn bytes(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}
