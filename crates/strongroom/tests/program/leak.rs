//! A key goes through every operation and is found nowhere but in its sealed record.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use strongroom_passphrase_store::{FileKek, sqlite::Database};

use crate::machine::{Machine, outcome};

/// Logs the arguments and the environment of each tool, as the kernel shows them, and goes on with the real tool.
const LOGGING: &str = r#"{ tr '\0' '\n' < /proc/$$/cmdline; tr '\0' '\n' < /proc/$$/environ; } >> "${0%/*}/../seen"
exec "$REAL" "$@""#;

fn forms(key: &[u8]) -> Vec<Vec<u8>> {
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(key);
    vec![
        key.to_vec(),
        hex::encode(key).into_bytes(),
        hex::encode_upper(key).into_bytes(),
        base64.into_bytes(),
    ]
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path(), found),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

/// The keys of all volumes, read with the library from the state directory.
fn keys(machine: &Machine) -> Vec<Vec<u8>> {
    let kek = FileKek::open(&machine.state().join("kek")).unwrap();
    let database = Database::open(&machine.state().join("strongroom.db")).unwrap();
    crate::leak::unseal_all(&kek, database)
}
