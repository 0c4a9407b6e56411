//! Key files that are made, and those that are refused.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use strongroom_passphrase_store::{FileKek, KekError, KeyEncryptionKey};

use crate::place;

#[track_caller]
fn refused(path: &Path) -> KekError {
    FileKek::open(path).unwrap_err()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_new_key_file_is_private_has_one_name_and_opens_as_the_same_key() {
    let (directory, kek) = place();
    let path = directory.path().join("kek");
    let metadata = path.metadata().unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.nlink()), (0o600, 1));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    let again = FileKek::open(&path).unwrap();
    assert_eq!(again.id(), kek.id());
    let sealed = kek.seal(b"text", b"bound").unwrap();
    assert_eq!(again.unseal(1, &sealed, b"bound").unwrap().as_slice(), b"text");
    let other = FileKek::create(directory.path().join("other")).unwrap();
    assert_ne!(other.id(), kek.id());
}

#[test]
fn create_replaces_nothing_of_any_kind() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "mine").unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    for name in ["file", "directory", "dangling", "fifo"] {
        let before = at(name).symlink_metadata().unwrap();
        let refused = FileKek::create(at(name)).unwrap_err();
        assert!(
            matches!(&refused, KekError::Exists { path } if *path == at(name)),
            "{refused}"
        );
        let after = at(name).symlink_metadata().unwrap();
        assert_eq!(
            (before.ino(), before.mtime_nsec()),
            (after.ino(), after.mtime_nsec())
        );
    }
    assert_eq!(fs::read(at("file")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 4);
}

#[test]
fn of_many_that_create_at_once_one_succeeds_and_nothing_else_is_left() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        let made: Vec<_> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| FileKek::create(&path))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let (made, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        assert_eq!((made.len(), refused.len()), (1, 7));
        for refused in refused {
            let refused = refused.unwrap_err();
            assert!(matches!(&refused, KekError::Exists { .. }), "{refused:?}");
        }
        let id = made.into_iter().next().unwrap().unwrap().id().clone();
        assert_eq!(FileKek::open(&path).unwrap().id(), &id);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}

#[test]
fn create_where_it_cannot_write_says_so_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let refused = FileKek::create(directory.path().join("missing/kek")).unwrap_err();
    assert!(matches!(&refused, KekError::File { .. }), "{refused}");
    let refused = FileKek::create("/proc/kek").unwrap_err();
    assert!(matches!(&refused, KekError::File { .. }), "{refused}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_key_file_that_others_may_use_is_refused_with_the_remedy() {
    let (directory, _kek) = place();
    let path = directory.path().join("kek");
    for bits in [0o644, 0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o4755] {
        mode(&path, bits);
        let refused = refused(&path);
        assert!(
            matches!(&refused, KekError::Mode { mode, .. } if *mode == bits),
            "{refused}"
        );
        let remedy = format!("(mode {bits:04o}); make it private: chmod 600 {path:?}");
        assert!(refused.to_string().ends_with(&remedy), "{refused}");
    }
    for bits in [0o600, 0o400, 0o700] {
        mode(&path, bits);
        FileKek::open(&path).unwrap();
    }
}

#[test]
fn what_is_no_plain_file_is_refused_and_a_fifo_does_not_hang() {
    let (directory, _kek) = place();
    let at = |name: &str| directory.path().join(name);
    let odd = |name: &str, expected: &str| {
        let refused = refused(&at(name));
        assert!(
            matches!(&refused, KekError::NotAPlainFile { found, .. } if *found == expected),
            "{name}: {refused:?}"
        );
    };
    symlink(at("kek"), at("link")).unwrap();
    odd("link", "a symlink");
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    odd("fifo", "no regular file");
    fs::create_dir(at("directory")).unwrap();
    odd("directory", "no regular file");
    fs::hard_link(at("kek"), at("second")).unwrap();
    odd("kek", "a file with several names");
    odd("second", "a file with several names");
    fs::remove_file(at("second")).unwrap();
    FileKek::open(at("kek")).unwrap();

    let missing = refused(&at("missing"));
    assert!(
        matches!(&missing, KekError::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound),
        "{missing}"
    );
}

#[test]
fn a_key_file_of_another_user_is_refused() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test gives a file away: run it as root"
    );
    let (directory, _kek) = place();
    let path = directory.path().join("kek");
    chown(&path, Some(65534), None).unwrap();
    let refused = refused(&path);
    assert!(
        matches!(&refused, KekError::WrongOwner { owner: 65534, .. }),
        "{refused}"
    );
}

#[test]
fn a_key_file_with_any_byte_changed_missing_or_added_is_refused() {
    let (directory, kek) = place();
    let path = directory.path().join("kek");
    let good = fs::read(&path).unwrap();
    let damaged = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let refused = refused(&path);
        assert!(matches!(&refused, KekError::Damaged { .. }), "{refused}");
        // What is in the file is never in the error.
        let key = std::str::from_utf8(&good[57..121]).unwrap();
        assert!(!format!("{refused} {refused:?}").contains(key));
    };
    for bit in 0..good.len() * 8 {
        let mut changed = good.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        damaged(&changed);
    }
    for length in 0..good.len() {
        damaged(&good[..length]);
    }
    damaged(&[good.as_slice(), b"\n"].concat());
    damaged(&[good.as_slice(), good.as_slice()].concat());
    damaged(&vec![b'a'; 1 << 20]);
    damaged(&good.to_ascii_uppercase());
    fs::write(&path, &good).unwrap();
    assert_eq!(FileKek::open(&path).unwrap().id(), kek.id());
}

#[test]
fn on_a_full_disk_no_key_file_is_made() {
    let full = crate::full_disk::FullDisk::with("64k");
    full.fill();
    let refused = FileKek::create(full.path().join("kek")).unwrap_err();
    assert!(
        matches!(&refused, KekError::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{refused:?}"
    );
    full.make_room();
    assert_eq!(fs::read_dir(full.path()).unwrap().count(), 0);
    FileKek::create(full.path().join("kek")).unwrap();
}

#[test]
fn a_device_is_refused() {
    let null: PathBuf = "/dev/null".into();
    let refused = refused(&null);
    assert!(matches!(&refused, KekError::NotAPlainFile { .. }), "{refused}");
}

#[test]
fn a_fifo_with_something_in_it_is_refused_and_not_read() {
    let (directory, _kek) = place();
    let fifo = directory.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let content = fs::read(directory.path().join("kek")).unwrap();
    // Open for both, it does not wait for another side.
    let mut both = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
    both.write_all(&content).unwrap();
    let refused = refused(&fifo);
    assert!(matches!(&refused, KekError::NotAPlainFile { .. }), "{refused}");
    let mut left = vec![0; content.len()];
    both.read_exact(&mut left).unwrap();
    assert_eq!(left, content);
}
