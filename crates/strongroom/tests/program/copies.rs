//! Templates and copies, by commands, on pools of both kinds: what is on disk is what was asked for.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::machine::{Machine, is_root, tool};

/// A template of 1 MiB that is no zeros, registered as `t`; returns its file.
fn template(machine: &Machine) -> PathBuf {
    let path = machine.path().join("t.raw");
    let content: Vec<u8> = (0..1u32 << 18)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    fs::write(&path, content).unwrap();
    machine.ok(&["template", "add", "t", "--file", path.to_str().unwrap()]);
    path
}

fn sha256(path: &std::path::Path) -> String {
    let line = tool("sha256sum", &[path.to_str().unwrap()]);
    String::from_utf8(line)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned()
}

fn digest(machine: &Machine, volume: &str) -> String {
    let verified = machine.ok(&["volume", "verify", volume, "--digest"]);
    verified["sha256"].as_str().unwrap().to_owned()
}

fn create(machine: &Machine, volume: &str, offering: &str, more: &[&str]) -> Value {
    let args = ["volume", "create", volume, "--offering", offering, "--size", "1M"];
    machine.ok(&[&args, more].concat())
}

/// A file with a passphrase.
fn passphrase(machine: &Machine, text: &str) -> String {
    let path = machine.path().join("passphrase");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_template_is_listed_used_and_removed() {
    let machine = Machine::new();
    let file = template(&machine);
    let listed = machine.ok(&["template", "list"]);
    assert_eq!(listed[0]["sha256"], sha256(&file), "what sha256sum says");
    create(&machine, "full", "secret", &["--template", "t", "--digest"]);
    create(
        &machine,
        "thin",
        "secret",
        &["--template", "t", "--overlay", "--digest"],
    );
    let thin = machine.ok(&["volume", "show", "thin"]);
    assert_eq!(thin["template"], "t");
    for volume in ["full", "thin"] {
        assert_eq!(digest(&machine, volume), sha256(&file));
    }
    machine
        .run(&["template", "remove", "t"])
        .refused(&["in use by thin", "flatten"]);
    let flat = machine.ok(&["volume", "flatten", "thin"]);
    assert_eq!(flat["template"], Value::Null);
    machine.ok(&["template", "remove", "t"]);
    assert_eq!(fs::read_dir(machine.pool().join("templates")).unwrap().count(), 0);
    assert_eq!(digest(&machine, "thin"), sha256(&file));
    assert!(file.exists(), "the image is its owner's");
    machine.assert_sound();
}

#[test]
fn a_reinstalled_volume_has_another_key_and_the_old_disk_is_gone() {
    let machine = Machine::new();
    let file = template(&machine);
    let before = create(&machine, "root", "secret", &[]);
    machine.ok(&["volume", "snapshot", "root", "s"]);
    machine
        .run(&["volume", "reinstall", "root", "--template", "t"])
        .refused(&["1 snapshots"]);
    machine
        .run(&["volume", "reinstall", "root"])
        .refused(&["from what"]);
    let after = machine.ok(&[
        "volume",
        "reinstall",
        "root",
        "--template",
        "t",
        "--lose-snapshots",
    ]);
    assert_eq!((&after["id"], &after["size"]), (&before["id"], &before["size"]));
    assert_ne!(after["passphrase"], before["passphrase"]);
    assert_eq!(after["former_disk"]["destroyed"][0], "keyslots overwritten");
    assert_eq!(digest(&machine, "root"), sha256(&file));
    assert_eq!(machine.assert_sound(), ["root"]);
}

#[test]
fn a_clone_moves_to_another_format_and_shrinks() {
    let machine = Machine::new();
    let file = template(&machine);
    create(&machine, "root", "secret", &["--template", "t"]);
    let clone = machine.ok(&["volume", "clone", "root", "twin", "--digest"]);
    assert_ne!(
        clone["passphrase"],
        machine.ok(&["volume", "show", "root"])["passphrase"]
    );
    let moved = machine.ok(&["volume", "move", "twin", "--to", "main", "--format", "raw"]);
    assert_eq!(moved["format"], "raw");
    assert_eq!(digest(&machine, "twin"), sha256(&file));
    machine
        .run(&["volume", "resize", "twin", "512K"])
        .refused(&["--shrink", "loses"]);
    let smaller = machine.ok(&["volume", "resize", "twin", "512K", "--shrink"]);
    assert_eq!(smaller["size"], 512 << 10);
    machine
        .run(&["volume", "resize", "twin", "1M", "--shrink"])
        .refused(&["grow it instead"]);
    machine
        .run(&["volume", "clone", "root", "x", "--share-key"])
        .refused(&["no clones that share a key"]);
    assert_eq!(machine.assert_sound(), ["root", "twin"]);
}

#[test]
fn a_sealed_export_opens_in_qemu_and_comes_back() {
    let machine = Machine::new();
    let file = template(&machine);
    create(&machine, "root", "secret", &["--template", "t"]);
    let key = passphrase(&machine, "correct horse battery staple\n");
    let image = machine.path().join("root.qcow2");
    let image = image.to_str().unwrap();
    let export = [
        "volume",
        "export",
        "root",
        "--to",
        image,
        "--passphrase-file",
        &key,
        "--digest",
    ];
    assert_eq!(machine.ok(&export)["encrypted"], true);
    machine.run(&export).refused(&["is there already"]);
    // QEMU opens it with the same passphrase, without its line break.
    let options = format!("driver=qcow2,file.filename={image},encrypt.format=luks,encrypt.key-secret=s");
    let clear = machine.path().join("clear");
    fs::write(machine.path().join("bare"), "correct horse battery staple").unwrap();
    let secret = format!("secret,id=s,file={}", machine.path().join("bare").display());
    tool(
        "qemu-img",
        &[
            "convert",
            "--object",
            &secret,
            "--image-opts",
            &options,
            "-O",
            "raw",
            clear.to_str().unwrap(),
        ],
    );
    assert_eq!(sha256(&clear), sha256(&file));

    let import = [
        "volume",
        "import",
        "back",
        "--offering",
        "secret-raw",
        "--from",
        image,
    ];
    machine.run(&import).refused(&["LUKS"]);
    let wrong = machine.path().join("wrong");
    fs::write(&wrong, "another passphrase").unwrap();
    let with_wrong = [&import[..], &["--passphrase-file", wrong.to_str().unwrap()]].concat();
    machine.run(&with_wrong).refused(&["wrong key"]);
    machine.ok(&[&import[..], &["--passphrase-file", &key, "--digest"]].concat());
    assert_eq!(digest(&machine, "back"), sha256(&file));
    assert_eq!(machine.assert_sound(), ["back", "root"]);
}

#[test]
fn content_is_declassified_only_with_a_reason_which_outlives_the_volume() {
    let machine = Machine::new();
    let file = template(&machine);
    create(&machine, "root", "secret", &["--template", "t"]);
    let image = machine.path().join("root.raw");
    let path = image.to_str().unwrap();
    let export = ["volume", "export", "root", "--to", path, "--format", "raw"];
    machine.run(&export).refused(&["a passphrase", "a reason"]);
    assert!(!image.exists());
    let done = machine.run(&[&export[..], &["--declassify", "an audit"]].concat());
    assert_eq!(done.json()["declassified"], "an audit");
    assert!(
        done.stderr.contains("written in clear") && done.stderr.contains("an audit"),
        "{}",
        done.stderr
    );
    assert_eq!(sha256(&image), sha256(&file));
    let erasure = machine.ok(&["volume", "delete", "root"]);
    let lives_on = erasure["lives_on"][0].as_str().unwrap();
    assert!(lives_on.contains("an audit"), "{lives_on}");
    let exports = machine.ok(&["volume", "exports"]);
    assert_eq!(
        (&exports[0]["declassified"], &exports[0]["volume_gone"]),
        (&json!("an audit"), &json!(true))
    );
    // What is plain comes back as it is.
    let import = [
        "volume",
        "import",
        "back",
        "--offering",
        "secret",
        "--from",
        path,
        "--digest",
    ];
    machine.ok(&import);
    assert_eq!(digest(&machine, "back"), sha256(&file));
    machine.assert_sound();
}

/// Loop devices that are gone when the test ends.
struct Loops(Vec<String>);

impl Loops {
    fn new(machine: &Machine, sizes: &[u64]) -> Self {
        let mut loops = Self(Vec::new());
        for (number, size) in sizes.iter().enumerate() {
            let file = machine.path().join(format!("device-{number}"));
            fs::File::create(&file).unwrap().set_len(*size).unwrap();
            let device = tool("losetup", &["--find", "--show", file.to_str().unwrap()]);
            loops.0.push(String::from_utf8(device).unwrap().trim().to_owned());
        }
        loops
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for device in &self.0 {
            tool("losetup", &["--detach", device]);
        }
    }
}

#[test]
fn a_volume_moves_between_pools_of_both_kinds_with_its_content() {
    assert!(is_root(), "loop devices need root");
    let machine = Machine::new();
    let file = template(&machine);
    let loops = Loops::new(&machine, &[16 << 20, 40 << 20]);
    let [one, two] = [&loops.0[0], &loops.0[1]];
    machine.ok(&["pool", "add", "disks", "--device", one, "--device", two]);
    machine
        .run(&["pool", "add", "again", "--device", one])
        .refused(&["belongs to pool disks already"]);
    create(&machine, "root", "secret", &["--template", "t"]);
    machine
        .run(&["volume", "move", "root", "--to", "main"])
        .refused(&["lies in pool main as qcow2 already"]);
    for (pool, format) in [
        ("disks", "raw"),
        ("main", "raw"),
        ("disks", "qcow2"),
        ("main", "qcow2"),
    ] {
        let moved = machine.ok(&["volume", "move", "root", "--to", pool, "--format", format]);
        assert_eq!((&moved["pool"], &moved["format"]), (&json!(pool), &json!(format)));
        assert_eq!(digest(&machine, "root"), sha256(&file));
        machine.assert_sound();
    }
    // Root volumes, reinstalls, clones and growth work on devices as well.
    create(
        &machine,
        "device",
        "secret-raw",
        &["--pool", "disks", "--template", "t", "--digest"],
    );
    machine.ok(&["volume", "reinstall", "device", "--template", "t"]);
    assert_eq!(digest(&machine, "device"), sha256(&file));
    machine.ok(&["volume", "clone", "device", "copy", "--pool", "main", "--digest"]);
    let grown = machine.ok(&["volume", "resize", "device", "2M"]);
    assert_eq!(grown["size"], 2 << 20);
    machine.assert_sound();
    for volume in ["device", "copy", "root"] {
        machine.ok(&["volume", "delete", volume]);
    }
    assert_eq!(machine.assert_sound(), Vec::<String>::new());
}

#[test]
fn waiting_for_a_passphrase_ends_with_the_call_and_keeps_nobody_out() {
    let machine = Machine::new();
    let file = template(&machine);
    let pipe = machine.path().join("pipe");
    tool("mkfifo", &[pipe.to_str().unwrap()]);
    let import = [
        "volume",
        "import",
        "v",
        "--offering",
        "secret",
        "--from",
        file.to_str().unwrap(),
        "--passphrase-file",
        pipe.to_str().unwrap(),
    ];
    let mut waiting = machine.start(&[&import[..], &["--timeout", "600"]].concat());
    // Nobody writes into the pipe, and the state directory is not in use meanwhile.
    machine.ok(&["template", "list"]);
    let pid = waiting.id().to_string();
    tool("kill", &["-TERM", &pid]);
    assert!(!waiting.wait().unwrap().success());
    machine
        .run(&[&import[..], &["--timeout", "1"]].concat())
        .refused(&["cannot read the passphrase", "pipe"]);
}
