//! A passphrase goes to a real child, and to nowhere else.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test says no")]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{SealFlags, fcntl_get_seals};
use strongroom_exec::{CommandSpec, Completed, Program, Runner, SystemRunner, Watch};
use strongroom_secret::{HandoverError, Passphrase, SecretFile};
use zeroize::Zeroizing;

fn run(command: &CommandSpec<'_>) -> Completed {
    SystemRunner::new().run(command, &Watch::nobody()).unwrap()
}

/// A shell command with the path as its first parameter.
fn shell(secret: &SecretFile, script: &str) -> Completed {
    let mut command = CommandSpec::new(Program::find("sh").unwrap()).args(["-c", script, "sh"]);
    let path = secret.path_in_child(|descriptor| command.pass(descriptor));
    run(&command.arg(path))
}

fn file(secret: &SecretFile) -> File {
    let mut file = None;
    secret.path_in_child(|descriptor| {
        file = Some(descriptor.try_clone_to_owned().unwrap().into());
        PathBuf::new()
    });
    file.unwrap()
}

fn both(passphrase: &Passphrase) -> [SecretFile; 2] {
    [
        SecretFile::new(passphrase).unwrap(),
        SecretFile::on_tmpfs(passphrase).unwrap(),
    ]
}

#[test]
fn a_child_reads_the_passphrase_byte_for_byte_and_as_often_as_it_likes() {
    let longest = "ß".repeat(256);
    for text in ["12345678", " leading and trailing ", longest.as_str()] {
        let passphrase = Passphrase::import(Zeroizing::new(text.as_bytes().to_vec())).unwrap();
        for secret in both(&passphrase) {
            let done = shell(&secret, r#"cat "$1" "$1""#);
            assert_eq!((done.code, done.message()), (0, String::new()));
            assert_eq!(done.stdout, [text, text].concat().as_bytes());
        }
    }
}

#[test]
fn no_file_of_any_directory_has_it_during_the_run_or_after() {
    fn assert_nowhere(directory: &Path, text: &[u8]) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let path = entry.path();
            if metadata.is_dir() && metadata.dev() == directory.metadata().unwrap().dev() {
                // Build directories under /tmp are deep; what we might leave behind would lie at the top.
                if path.components().count() < 5 {
                    assert_nowhere(&path, text);
                }
            } else if metadata.is_file() && metadata.len() < 1 << 16 {
                let content = fs::read(&path).unwrap_or_default();
                assert!(!content.windows(text.len()).any(|w| w == text), "{path:?}");
            }
        }
    }
    let passphrase = Passphrase::generate().unwrap();
    let nowhere = || {
        for directory in ["/dev/shm", "/tmp", "/run"] {
            assert_nowhere(directory.as_ref(), passphrase.expose_secret());
        }
    };
    let secrets = both(&passphrase);
    for secret in &secrets {
        assert_eq!(shell(secret, r#"cat "$1""#).stdout, passphrase.expose_secret());
        assert_eq!(file(secret).metadata().unwrap().nlink(), 0);
    }
    nowhere();
    drop(secrets);
    nowhere();
}

#[test]
fn nobody_can_change_what_is_in_a_memfd() {
    let passphrase = Passphrase::generate().unwrap();
    let secret = SecretFile::new(&passphrase).unwrap();
    let seals = fcntl_get_seals(file(&secret)).unwrap();
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    assert!(seals.contains(all), "{seals:?}");
    for script in [
        r#"echo other > "$1""#,
        r#"echo more >> "$1""#,
        r#"dd if=/dev/zero of="$1" bs=1 count=1 conv=notrunc status=none"#,
    ] {
        let done = shell(&secret, script);
        assert_ne!(done.code, 0, "{script}");
        assert!(
            done.message().contains("not permitted") || done.message().contains("error"),
            "{}",
            done.message()
        );
    }
    assert_eq!(shell(&secret, r#"cat "$1""#).stdout, passphrase.expose_secret());
}

#[test]
fn a_memfd_cannot_be_executed_where_the_kernel_knows_how_to_forbid_it() {
    let release = rustix::system::uname().release().to_str().unwrap().to_owned();
    let mut numbers = release.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let kernel = (numbers.next().unwrap(), numbers.next().unwrap());
    let secret = SecretFile::new(&Passphrase::generate().unwrap()).unwrap();
    let executable = file(&secret).metadata().unwrap().mode() & 0o111 != 0;
    assert_eq!(executable, kernel < (6, 3), "Linux {release}");
}

#[test]
fn a_child_that_it_is_not_passed_to_does_not_inherit_it() {
    let passphrase = Passphrase::generate().unwrap();
    let secrets = both(&passphrase);
    let list = CommandSpec::new(Program::find("sh").unwrap()).args(["-c", "ls -l /proc/self/fd"]);
    let seen = String::from_utf8(run(&list).stdout).unwrap();
    assert!(seen.contains("pipe:"), "{seen}");
    assert!(!seen.contains("memfd:") && !seen.contains("/dev/shm"), "{seen}");
    let seen = shell(&secrets[0], "ls -l /proc/self/fd").stdout;
    assert!(String::from_utf8(seen).unwrap().contains("memfd:passphrase"));
    drop(secrets);
}

#[test]
fn debug_is_the_same_for_all() {
    for secret in both(&Passphrase::generate().unwrap()) {
        assert_eq!(format!("{secret:?}"), "SecretFile(..)");
    }
}

#[track_caller]
fn refused(directory: &Path, because: &str) {
    let passphrase = Passphrase::generate().unwrap();
    let error = SecretFile::in_directory(&passphrase, directory).unwrap_err();
    let HandoverError::NoTmpfs { looked_at, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(looked_at[0].directory, directory);
    assert!(error.to_string().contains(because), "{error}");
}

#[test]
fn a_directory_that_will_not_do_is_refused_with_the_reason() {
    let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
    let link = scratch.path().join("link");
    std::os::unix::fs::symlink("/dev/shm", &link).unwrap();
    let plain = scratch.path().join("plain");
    fs::write(&plain, "").unwrap();

    refused("/proc".as_ref(), "is no tmpfs (its file system is 0x9fa0)");
    refused("/sys".as_ref(), "is no tmpfs (its file system is 0x62656572)");
    for link in ["link", "link/", "link//", "link/.", "link/./"] {
        let link = scratch.path().join(link);
        refused(&link, "cannot be opened as a directory: Not a directory");
    }
    refused(&plain, "cannot be opened as a directory: Not a directory");
    refused(&scratch.path().join("missing"), "No such file or directory");
    refused("".as_ref(), "No such file or directory");

    let passphrase = Passphrase::generate().unwrap();
    let secret = SecretFile::in_directory(&passphrase, scratch.path()).unwrap();
    assert_eq!(shell(&secret, r#"cat "$1""#).stdout, passphrase.expose_secret());
}

#[test]
fn a_tmpfs_that_is_full_is_refused_and_not_truncated_into() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test mounts a tmpfs of its own: run it as root"
    );
    let mount = Program::find("mount").expect("install the package mount");
    let umount = Program::find("umount").expect("install the package mount");
    let place = tempfile::tempdir().unwrap();
    let mounted = run(&CommandSpec::new(mount)
        .args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"])
        .arg(place.path()));
    assert_eq!(mounted.code, 0, "{}", mounted.message());
    let filled = fs::write(place.path().join("filler"), [1; 1 << 16]).unwrap_err();
    let result =
        std::panic::catch_unwind(|| refused(place.path(), "cannot be written: No space left on device"));
    let unmounted = run(&CommandSpec::new(umount).arg(place.path()));
    assert_eq!(unmounted.code, 0, "{}", unmounted.message());
    assert_eq!(filled.kind(), std::io::ErrorKind::StorageFull);
    result.unwrap();
}
