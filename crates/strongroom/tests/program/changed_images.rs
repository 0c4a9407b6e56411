//! Images that are not what they were, or not what they are said to be: what is recorded is what every volume gets.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::machine::{Machine, is_root, tool};

const MIB: usize = 1 << 20;

fn image(machine: &Machine, name: &str, seed: u32) -> PathBuf {
    let path = machine.path().join(name);
    let content: Vec<u8> = (0..1u32 << 18)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).wrapping_add(seed).to_le_bytes())
        .collect();
    fs::write(&path, content).unwrap();
    path
}

fn add(machine: &Machine, file: &Path) -> Value {
    machine.ok(&["template", "add", "t", "--file", file.to_str().unwrap()])
}

fn create<'a>(volume: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["volume", "create", volume, "--offering", "secret", "--size", "1M"];
    [&args, more].concat()
}

fn sha256_of(machine: &Machine, volume: &str) -> Value {
    machine.ok(&["volume", "verify", volume, "--digest"])["sha256"].clone()
}

/// Changes one byte, and makes the file look as old as it was.
fn spoil(file: &Path) {
    let before = fs::metadata(file).unwrap();
    let open = fs::OpenOptions::new().write(true).open(file).unwrap();
    open.write_all_at(b"!", 77_777).unwrap();
    open.set_modified(before.modified().unwrap()).unwrap();
}

#[test]
fn a_template_that_changed_before_its_first_use_becomes_no_volume_and_no_kept_copy() {
    for how in [vec!["--template", "t"], vec!["--template", "t", "--overlay"]] {
        let machine = Machine::new();
        let file = image(&machine, "t.raw", 1);
        let added = add(&machine, &file);
        spoil(&file);
        machine.run(&create("v", &how)).refused(&[
            "template t does not hold what was recorded",
            added["sha256"].as_str().unwrap(),
            "add the image as another template",
        ]);
        assert_eq!(fs::read_dir(machine.pool().join("templates")).unwrap().count(), 0);
        assert!(machine.assert_sound().is_empty());
        // The content comes back, in another file: it is read again, and is what it was.
        image(&machine, "t.raw", 1);
        machine.ok(&create("v", &how));
        assert_eq!(sha256_of(&machine, "v"), added["sha256"]);
    }
}

#[test]
fn a_template_that_changed_after_the_pool_has_its_copy_still_gives_what_was_recorded() {
    let machine = Machine::new();
    let file = image(&machine, "t.raw", 1);
    let added = add(&machine, &file);
    machine.ok(&create("first", &["--template", "t"]));
    spoil(&file);
    machine.ok(&create("second", &["--template", "t"]));
    fs::remove_file(&file).unwrap();
    machine.ok(&create("third", &["--template", "t", "--overlay"]));
    for volume in ["first", "second", "third"] {
        assert_eq!(sha256_of(&machine, volume), added["sha256"], "{volume}");
    }
}

#[test]
fn a_template_of_another_size_is_refused_with_both_sizes() {
    let machine = Machine::new();
    let file = image(&machine, "t.raw", 1);
    add(&machine, &file);
    fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(512)
        .unwrap();
    machine
        .run(&create("v", &["--template", "t"]))
        .refused(&["its guest sees 512 bytes, not 1048576"]);
    assert!(machine.assert_sound().is_empty());
}

#[test]
fn a_copy_that_is_not_what_was_recorded_is_discarded_although_the_image_looks_as_it_was() {
    let machine = Machine::new();
    let file = image(&machine, "t.raw", 1);
    add(&machine, &file);
    spoil(&file);
    // As if the file system's clock had not moved: the record says the stamp that the file has now.
    let stamp = fs::metadata(&file).unwrap();
    let nanoseconds = |s: i64, n: i64| i128::from(s) * 1_000_000_000 + i128::from(n);
    let text = format!(
        "{} {} {} {}",
        stamp.len(),
        stamp.ino(),
        nanoseconds(stamp.mtime(), stamp.mtime_nsec()),
        nanoseconds(stamp.ctime(), stamp.ctime_nsec())
    );
    let database = rusqlite::Connection::open(machine.state().join("strongroom.db")).unwrap();
    assert_eq!(
        database
            .execute("UPDATE templates SET stamp = ?1", [text])
            .unwrap(),
        1
    );
    drop(database);
    machine
        .run(&create("v", &["--template", "t"]))
        .refused(&["does not hold what was recorded"]);
    assert_eq!(fs::read_dir(machine.pool().join("templates")).unwrap().count(), 0);
    assert!(machine.assert_sound().is_empty());
}

#[test]
fn a_pool_of_devices_that_copies_the_image_each_time_refuses_one_that_changed() {
    assert!(is_root(), "loop devices need root");
    struct Loop(String);
    impl Drop for Loop {
        fn drop(&mut self) {
            tool("losetup", &["--detach", &self.0]);
        }
    }
    let machine = Machine::new();
    let disk = machine.path().join("disk");
    fs::write(&disk, vec![0; 4 * MIB]).unwrap();
    let device = tool("losetup", &["--find", "--show", disk.to_str().unwrap()]);
    let device = Loop(String::from_utf8(device).unwrap().trim().to_owned());
    machine.ok(&["pool", "add", "disks", "--device", &device.0]);
    let file = image(&machine, "t.raw", 1);
    let added = add(&machine, &file);
    let args = [
        "volume",
        "create",
        "v",
        "--offering",
        "secret-raw",
        "--size",
        "2M",
        "--pool",
        "disks",
        "--template",
        "t",
    ];
    spoil(&file);
    machine
        .run(&args)
        .refused(&["template t does not hold what was recorded"]);
    assert_eq!(machine.count("volumes"), 0);
    image(&machine, "t.raw", 1);
    machine.ok(&[&args[..], &["--digest"]].concat());
    assert_eq!(machine.ok(&["template", "list"])[0]["sha256"], added["sha256"]);
    machine.ok(&["volume", "delete", "v"]);
}

#[test]
fn a_template_that_says_it_is_huge_is_refused_at_once_and_a_signal_ends_the_reading() {
    let machine = Machine::new();
    let file = machine.path().join("huge.qcow2");
    tool(
        "qemu-img",
        &["create", "-f", "qcow2", file.to_str().unwrap(), "60T"],
    );
    let args = ["template", "add", "huge", "--file", file.to_str().unwrap()];
    machine
        .run(&args)
        .refused(&["65970697666560", "274877906944", "--largest"]);
    let more = [&args[..], &["--largest", "60T"]].concat();
    let hurried = machine.run(&[&more[..], &["--timeout", "2"]].concat());
    hurried.refused(&["deadline"]);
    let mut reading = machine.start(&more);
    let lock = machine.state().join("lock");
    let number = reading.id().to_string();
    let limit = std::time::Instant::now() + Duration::from_secs(20);
    while !fs::read_to_string(&lock).is_ok_and(|holder| holder == number) {
        assert!(std::time::Instant::now() < limit, "it never began");
        std::thread::yield_now();
    }
    let process = rustix::process::Pid::from_child(&reading);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    assert_eq!(reading.wait().unwrap().code(), Some(1));
    assert_eq!(machine.ok(&["template", "list"]), serde_json::json!([]));
}

#[test]
fn a_raw_image_that_begins_as_another_format_is_taken_only_when_that_is_meant() {
    let machine = Machine::new();
    let key = machine.path().join("key");
    fs::write(&key, "correct horse battery").unwrap();
    machine.ok(&create("v", &[]));
    let sealed = machine.path().join("sealed.qcow2");
    let (sealed, key) = (sealed.to_str().unwrap(), key.to_str().unwrap());
    machine.ok(&["volume", "export", "v", "--to", sealed, "--passphrase-file", key]);
    let vmdk = machine.path().join("disk.vmdk");
    tool(
        "qemu-img",
        &["create", "-f", "vmdk", vmdk.to_str().unwrap(), "1M"],
    );
    let vdi = machine.path().join("disk.vdi");
    tool("qemu-img", &["create", "-f", "vdi", vdi.to_str().unwrap(), "1M"]);
    let vhdx = machine.path().join("disk.vhdx");
    tool(
        "qemu-img",
        &["create", "-f", "vhdx", vhdx.to_str().unwrap(), "1M"],
    );
    for (path, name) in [
        (sealed, "qcow2"),
        (vmdk.to_str().unwrap(), "vmdk"),
        (vdi.to_str().unwrap(), "vdi"),
        (vhdx.to_str().unwrap(), "vhdx"),
    ] {
        let length = fs::metadata(path).unwrap().len().next_multiple_of(512);
        fs::OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(length)
            .unwrap();
        let size = length.to_string();
        for args in [
            vec![
                "volume",
                "import",
                "x",
                "--offering",
                "secret",
                "--from",
                path,
                "--format",
                "raw",
            ],
            vec![
                "volume",
                "create",
                "x",
                "--offering",
                "secret",
                "--size",
                &size,
                "--image",
                path,
                "--image-format",
                "raw",
            ],
            vec!["template", "add", "x", "--file", path, "--format", "raw"],
        ] {
            let words = [&format!("begins as {name} does"), "--opaque"];
            machine.run(&args).refused(&words);
        }
    }
    machine.ok(&[
        "volume",
        "import",
        "x",
        "--offering",
        "secret",
        "--from",
        sealed,
        "--format",
        "raw",
        "--opaque",
        "--digest",
    ]);
    assert_eq!(machine.assert_sound(), ["v", "x"]);
}
