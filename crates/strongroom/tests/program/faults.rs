//! Full disks, read-only directories, and tools that are missing, hang, flood or die.

use std::fs;

use crate::machine::{Machine, is_root, tool};

/// A mount that is undone when dropped.
#[derive(Debug)]
struct Mount(String);

impl Mount {
    fn tmpfs(at: &std::path::Path, size: &str) -> Self {
        let at = at.to_str().unwrap().to_owned();
        tool(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=0700"),
                "tmpfs",
                &at,
            ],
        );
        Self(at)
    }

    fn remount(&self, options: &str) {
        tool("mount", &["-o", &format!("remount,{options}"), &self.0]);
    }
}

impl Mount {
    fn bind(from: &std::path::Path, at: &std::path::Path) -> Self {
        let at = at.to_str().unwrap().to_owned();
        tool("mount", &["--bind", from.to_str().unwrap(), &at]);
        Self(at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        tool("umount", &[&self.0]);
    }
}

#[track_caller]
fn needs_root() {
    assert!(
        is_root(),
        "this test mounts a small file system of its own: run the tests as root"
    );
}

#[test]
fn a_full_disk_in_the_middle_of_create_copy_and_grow() {
    needs_root();
    let machine = Machine::bare();
    let mount = Mount::tmpfs(&machine.pool(), "12m");
    machine.ok(&["host", "probe"]);
    let machine = machine.with_pool_and_offerings();
    machine.create("keep", "secret-raw", "1M");
    let template = machine.path().join("template.raw");
    fs::write(
        &template,
        (0..20u32 << 20)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    for offering in ["secret-raw", "secret", "plain"] {
        machine
            .run(&[
                "volume",
                "create",
                "big",
                "--offering",
                offering,
                "--size",
                "20M",
                "--image",
                template.to_str().unwrap(),
            ])
            .refused(&["space"]);
        assert_eq!(machine.assert_sound(), ["keep"]);
    }
    // The rest of the pool is taken: not even a header fits.
    let filler = machine.path().join("pool").join("filler");
    let _ = fs::write(&filler, vec![1; 12 << 20]);
    machine
        .run(&[
            "volume",
            "create",
            "v",
            "--offering",
            "secret-raw",
            "--size",
            "1M",
        ])
        .refused(&["space"]);
    machine
        .run(&["volume", "create", "v", "--offering", "secret", "--size", "1M"])
        .refused(&["space"]);
    fs::remove_file(&filler).unwrap();
    machine.ok(&["volume", "resize", "keep", "2M"]);
    assert_eq!(machine.assert_sound(), ["keep"]);
    drop(mount);
}

#[test]
fn a_pool_that_becomes_read_only_or_vanishes() {
    needs_root();
    let machine = Machine::bare();
    let mount = Mount::tmpfs(&machine.pool(), "32m");
    machine.ok(&["host", "probe"]);
    let machine = machine.with_pool_and_offerings();
    machine.create("keep", "secret-raw", "1M");
    mount.remount("ro");
    let create = || {
        machine.run(&[
            "volume",
            "create",
            "v",
            "--offering",
            "secret-raw",
            "--size",
            "1M",
        ])
    };
    create().refused(&["main"]);
    machine
        .run(&["volume", "resize", "keep", "2M"])
        .refused(&["keep"]);
    mount.remount("rw");
    assert_eq!(machine.assert_sound(), ["keep"]);
    drop(mount);
    machine.run(&["volume", "verify", "keep"]).refused(&["keep"]);
    let mount = Mount::tmpfs(&machine.pool(), "32m");
    machine.run(&["volume", "verify", "keep"]).refused(&["keep"]);
    drop(mount);
}

#[test]
fn a_pool_that_is_not_mounted_loses_no_volume() {
    needs_root();
    let machine = Machine::bare();
    let elsewhere = machine.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let storage = Mount::tmpfs(&elsewhere, "32m");
    let mount = Mount::bind(&elsewhere, &machine.pool());
    machine.ok(&["host", "probe"]);
    let machine = machine.with_pool_and_offerings();
    machine.create("keep", "secret-raw", "1M");
    drop(mount);
    let words = ["keep", "no mount point"];
    machine.run(&["volume", "delete", "keep"]).refused(&words);
    machine.run(&["volume", "verify", "keep"]).refused(&["keep"]);
    let create = [
        "volume",
        "create",
        "v",
        "--offering",
        "secret-raw",
        "--size",
        "1M",
    ];
    machine.run(&create).refused(&["no mount point"]);
    assert_eq!(machine.pool_files(), Vec::<String>::new());
    let mount = Mount::bind(&elsewhere, &machine.pool());
    // What was begun may be a deletion, and then it ends now; the volume is whole or gone, and its key with it.
    let left = machine.assert_sound();
    assert!(left.is_empty() || left == ["keep"], "{left:?}");
    drop(mount);
    drop(storage);
}

#[test]
fn a_state_directory_that_is_read_only() {
    needs_root();
    let machine = Machine::bare();
    fs::create_dir(machine.state()).unwrap();
    let mount = Mount::tmpfs(&machine.state(), "8m");
    machine.ok(&["host", "list"]);
    mount.remount("ro");
    machine
        .run(&["host", "list"])
        .refused(&["cannot write to the state directory"]);
    mount.remount("rw");
    machine.ok(&["host", "list"]);
    drop(mount);
}

#[test]
fn tools_that_are_missing() {
    let machine = Machine::new();
    machine.create("keep", "secret-raw", "1M");
    fs::remove_file(machine.tools().join("cryptsetup")).unwrap();
    machine
        .run(&[
            "volume",
            "create",
            "v",
            "--offering",
            "secret-raw",
            "--size",
            "1M",
        ])
        .refused(&["cryptsetup", "package is cryptsetup-bin"]);
    fs::remove_file(machine.tools().join("qemu-img")).unwrap();
    machine
        .run(&["volume", "verify", "keep"])
        .refused(&["qemu-img", "package is qemu-utils"]);
    machine.ok(&["host", "probe"]);
    assert_eq!(machine.ok(&["host", "list"])[0]["encryption_supported"], false);
    machine
        .run(&["volume", "create", "v", "--offering", "secret", "--size", "1M"])
        .refused(&["local", "lacks", "qcow2-luks"]);
    machine.restore_tools();
    machine.ok(&["host", "probe"]);
    assert_eq!(machine.assert_sound(), ["keep"]);
}

#[test]
fn tools_that_hang_flood_or_die() {
    let machine = Machine::new();
    machine.create("keep", "secret-raw", "1M");
    let create = [
        "--timeout",
        "5",
        "volume",
        "create",
        "v",
        "--offering",
        "secret-raw",
        "--size",
        "1M",
    ];
    let misbehaviours = [
        ("exec sleep 600", "deadline"),
        (
            "while :; do echo flooding flooding flooding flooding flooding flooding >&2; done",
            "deadline",
        ),
        ("kill -SEGV $$", "signal"),
        ("echo 'something odd' >&2; exit 77", "77"),
        ("kill -KILL $$", "signal"),
    ];
    for tool in ["cryptsetup", "qemu-img"] {
        for (script, word) in misbehaviours {
            machine.replace_tool(tool, script);
            machine.run(&create).refused(&[word, tool]);
            machine.restore_tools();
            assert_eq!(machine.assert_sound(), ["keep"], "{tool}: {script}");
        }
    }
    machine.replace_tool("qemu-img", "exit 0");
    machine.run(&create).refused(&["qemu-img"]);
    machine.restore_tools();
    // One that says yes and does nothing is asked whether the key opens the header, which it did not make: QEMU is asked as well.
    machine.replace_tool("cryptsetup", "exit 0");
    machine.ok(&create);
    machine.restore_tools();
    assert_eq!(machine.assert_sound(), ["keep", "v"]);
}
