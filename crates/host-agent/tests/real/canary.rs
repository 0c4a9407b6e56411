//! A text in the content that must be nowhere else.

use std::fs;
use std::path::Path;

use strongroom_endpoint_selector::{DigestContent, Disk, HostAnswer};

use crate::bench::{Bench, pattern, tool};

/// What is looked for.
pub(crate) const CANARY: &[u8] = b"a canary in plain words, which no cipher lets through";

/// Content with the canary at its beginning, in its middle and at its end, and nothing twice in between.
pub(crate) fn content(bytes: usize) -> Vec<u8> {
    let mut content = pattern(bytes);
    for at in [0, bytes / 2 - 100, bytes - CANARY.len()] {
        content[at..at + CANARY.len()].copy_from_slice(CANARY);
    }
    content
}

/// Whether the bytes of a file have it.
pub(crate) fn is_in(path: &Path, text: &[u8]) -> bool {
    fs::read(path).unwrap().windows(text.len()).any(|w| w == text)
}

/// Fails when a file below the directory has the canary, but for these, or when any has the key.
#[track_caller]
pub(crate) fn only_in(bench: &Bench, names: &[&str]) {
    let mut places = vec![bench.place.path().to_owned()];
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                places.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(is_in(&path, CANARY), names.contains(&name), "{name}");
            assert!(!is_in(&path, bench.key.expose_secret()), "{name} has the key");
        }
    }
}

/// The digest of a disk in hexadecimal.
#[track_caller]
pub(crate) fn digest(bench: &Bench, disk: Disk<'_>) -> String {
    match bench.run(DigestContent::new(disk)) {
        Ok(HostAnswer::Digest(digest)) => digest.to_string(),
        other => panic!("{other:?}"),
    }
}

/// What `sha256sum` says of a file.
#[track_caller]
pub(crate) fn sha256sum(path: &Path) -> String {
    let done = tool("sha256sum", &[path.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.message());
    String::from_utf8(done.stdout).unwrap()[..64].to_owned()
}
