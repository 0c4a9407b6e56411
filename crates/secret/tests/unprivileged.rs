//! The hand-over as an ordinary user sees it. Run by root, the checks run as `nobody`; run by anybody else, as that user.
//!
//! A harness of its own, because the program that runs as another user is this one.

#![expect(clippy::print_stdout, reason = "a test harness says what it did")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test says no"
)]

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::{env, fs};

use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_secret::{HandoverError, Passphrase, SecretFile};

/// Debian's user and group `nobody`.
const NOBODY: &str = "65534";
const AS_ORDINARY_USER: &str = "as-ordinary-user";

fn main() {
    let us = rustix::process::geteuid();
    if env::args().nth(1).as_deref() == Some(AS_ORDINARY_USER) {
        assert!(!us.is_root());
        memfd_and_tmpfs_hand_over();
        nothing_stays_open();
        a_directory_of_somebody_else_is_refused();
        println!("checked as user {}", us.as_raw());
        return;
    }
    // The directory of the build may be closed to others, so they get a copy.
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = open.path().join("checks");
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    let command = if us.is_root() {
        let setpriv = Program::find("setpriv").expect("install the package util-linux");
        CommandSpec::new(setpriv)
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"])
            .arg(copy)
    } else {
        CommandSpec::new(Program::at(copy).unwrap())
    };
    let done = SystemRunner::new()
        .run(&command.arg(AS_ORDINARY_USER), &Watch::nobody())
        .unwrap();
    assert_eq!(done.code, 0, "{}", done.message());
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.starts_with("checked as user "), "{said}");
    print!("{said}");
}

fn memfd_and_tmpfs_hand_over() {
    let passphrase = Passphrase::generate().unwrap();
    for secret in [
        SecretFile::new(&passphrase).unwrap(),
        SecretFile::on_tmpfs(&passphrase).unwrap(),
    ] {
        let mut cat = CommandSpec::new(Program::find("cat").unwrap());
        let path = secret.path_in_child(|descriptor| cat.pass(descriptor));
        let done = SystemRunner::new().run(&cat.arg(path), &Watch::nobody()).unwrap();
        assert_eq!(done.stdout, passphrase.expose_secret());
    }
    let secret = SecretFile::on_tmpfs(&passphrase).unwrap();
    secret.path_in_child(|descriptor| {
        let file = fs::File::from(descriptor.try_clone_to_owned().unwrap());
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.nlink(), metadata.mode() & 0o7777), (0, 0o400));
        let refused = file.write_at(b"x", 0).unwrap_err();
        assert_eq!(
            refused.raw_os_error(),
            Some(rustix::io::Errno::BADF.raw_os_error())
        );
        PathBuf::new()
    });
}

/// Here, where no other thread has files open.
fn nothing_stays_open() {
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let passphrase = Passphrase::generate().unwrap();
    let secrets = [
        SecretFile::new(&passphrase).unwrap(),
        SecretFile::on_tmpfs(&passphrase).unwrap(),
    ];
    assert_eq!(open(), before + 2);
    drop(secrets);
    assert_eq!(open(), before);
}

fn a_directory_of_somebody_else_is_refused() {
    let passphrase = Passphrase::generate().unwrap();
    // devtmpfs is a tmpfs, and only root makes files in it.
    let refused = SecretFile::in_directory(&passphrase, "/dev".as_ref()).unwrap_err();
    assert!(matches!(&refused, HandoverError::NoTmpfs { looked_at, .. } if looked_at.len() == 1));
    assert!(refused.to_string().contains("Permission denied"), "{refused}");
}
