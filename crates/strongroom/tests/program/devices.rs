//! A pool of block devices, by commands: a device that its operator made larger, and a root volume on a template.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::Value;

use crate::machine::{Machine, is_root, tool};

const MIB: u64 = 1 << 20;

/// A loop device that is gone when the test ends.
struct Loop {
    path: String,
    backing: PathBuf,
}

impl Loop {
    fn new(machine: &Machine, name: &str, bytes: u64) -> Self {
        assert!(is_root(), "loop devices need root");
        let backing = machine.path().join(name);
        fs::File::create_new(&backing).unwrap().set_len(bytes).unwrap();
        let path = tool("losetup", &["--find", "--show", backing.to_str().unwrap()]);
        let path = String::from_utf8(path).unwrap().trim().to_owned();
        Self { path, backing }
    }

    /// Makes the device larger, as its operator does.
    fn grow(&self, bytes: u64) {
        let backing = fs::File::options().write(true).open(&self.backing).unwrap();
        backing.set_len(bytes).unwrap();
        tool("losetup", &["--set-capacity", &self.path]);
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        tool("losetup", &["--detach", &self.path]);
    }
}

fn digest(machine: &Machine, volume: &str) -> Value {
    machine.ok(&["volume", "verify", volume, "--digest"])["sha256"].clone()
}

fn size(machine: &Machine, volume: &str) -> Value {
    machine.ok(&["volume", "show", volume])["size"].clone()
}

/// A template whose sectors all differ, registered as `t`.
fn template(machine: &Machine) -> Vec<u8> {
    let content: Vec<u8> = (0..1u32 << 18)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let path = machine.path().join("t.raw");
    fs::write(&path, &content).unwrap();
    machine.ok(&["template", "add", "t", "--file", path.to_str().unwrap()]);
    content
}

#[test]
fn a_volume_follows_its_device_that_its_operator_made_larger() {
    let machine = Machine::new();
    let content = template(&machine);
    let device = Loop::new(&machine, "device", 8 * MIB);
    machine.ok(&["pool", "add", "disks", "--device", &device.path]);
    let new = ["volume", "create", "v", "--offering", "secret-raw"];
    let on_disks = ["--size", "4M", "--pool", "disks", "--template", "t"];
    let create = [&new[..], &on_disks].concat();
    // The header of a device is the tool's, so nothing is there when it says yes and does nothing.
    machine.replace_tool("cryptsetup", "exit 0");
    assert_eq!(machine.run(&create).code, Some(1));
    machine.restore_tools();
    assert_eq!(machine.assert_sound(), Vec::<String>::new());
    machine.ok(&create);
    // The machine of a test has no more tools than volumes in files need.
    symlink("/usr/sbin/losetup", machine.tools().join("losetup")).unwrap();
    let too_far = ["volume", "resize", "v", "12M"];
    machine.run(&too_far).refused(&["disks"]);
    assert_eq!(size(&machine, "v"), 4 * MIB);
    device.grow(16 * MIB);
    let grown = machine.ok(&too_far);
    assert_eq!(grown["size"], 12 * MIB);
    assert_eq!(size(&machine, "v"), 12 * MIB);
    machine.ok(&["volume", "verify", "v"]);
    let bytes = device.bytes();
    assert!(bytes.starts_with(b"LUKS"));
    assert!(!bytes.windows(512).any(|window| window == &content[..512]));
    machine.ok(&["volume", "delete", "v"]);
    assert!(device.bytes().iter().all(|byte| *byte == 0));
    assert_eq!(machine.assert_sound(), Vec::<String>::new());
}

#[test]
fn a_root_volume_on_a_template_is_flattened_on_its_device() {
    let machine = Machine::new();
    let content = template(&machine);
    let lower = Loop::new(&machine, "lower", 8 * MIB);
    let upper = Loop::new(&machine, "upper", 16 * MIB);
    let devices = ["--device", &lower.path, "--device", &upper.path];
    machine.ok(&[&["pool", "add", "disks"][..], &devices].concat());
    let create = ["volume", "create", "root", "--offering", "secret", "--size", "2M"];
    let overlay = ["--pool", "disks", "--template", "t", "--overlay", "--digest"];
    let made = machine.ok(&[&create[..], &overlay].concat());
    assert_eq!(made["template"], "t");
    let before = digest(&machine, "root");
    let in_clear = |device: &Loop| {
        device
            .bytes()
            .windows(512)
            .any(|window| window == &content[..512])
    };
    assert!(in_clear(&lower) && !in_clear(&upper));
    machine
        .run(&["template", "remove", "t"])
        .refused(&["in use by root", "flatten"]);
    let flat = machine.ok(&["volume", "flatten", "root"]);
    assert_eq!(flat["template"], Value::Null);
    assert_eq!(digest(&machine, "root"), before);
    machine.ok(&["template", "remove", "t"]);
    assert!(!in_clear(&lower) && !in_clear(&upper));
    assert!(lower.bytes().iter().all(|byte| *byte == 0));
    assert_eq!(digest(&machine, "root"), before);
    machine.ok(&["volume", "delete", "root"]);
    assert_eq!(machine.assert_sound(), Vec::<String>::new());
}
