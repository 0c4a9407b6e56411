use strongroom_exec::{CommandSpec, Program};
use strongroom_lab::Console;
use strongroom_secret::SecretFile;
use strongroom_types::DiskFormat;

use crate::content::holds_encrypted;
use crate::snapshots::overlay;
use crate::world::{Volume, World, disk, run, run_words};

/// Puts an empty ext4 file system into an encrypted qcow2.
fn format(volume: &Volume) {
    let raw = tempfile::NamedTempFile::new().unwrap();
    raw.as_file().set_len(64 << 20).unwrap();
    run_words("mkfs.ext4", &["-q", "-F", raw.path().to_str().unwrap()]);
    let key = SecretFile::new(&volume.key).unwrap();
    let mut convert =
        CommandSpec::new(Program::find("qemu-img").unwrap()).args(["convert", "-n", "-f", "raw"]);
    let path = key.path_in_child(|descriptor| convert.pass(descriptor));
    run(&convert
        .args([
            "--object".to_owned(),
            format!("secret,id=s,file={}", path.display()),
        ])
        .arg("--target-image-opts")
        .arg(raw.path().as_os_str())
        .arg(format!(
            "driver=qcow2,encrypt.key-secret=s,file.filename={}",
            volume.file.display()
        )));
}

/// What libvirt asks of QEMU's guest agent to freeze file systems, in the shell.
fn agent(guest: &mut Console) {
    let script = "port=$(grep -l org.qemu.guest_agent.0 /sys/class/virtio-ports/*/name); port=/dev/$(basename $(dirname $port)); \
        (exec 3<>$port; while IFS= read -r line <&3; do case $line in \
        *guest-sync*) echo \"{\\\"return\\\": $(echo \"$line\" | sed 's/.*\"id\": *\\([0-9]*\\).*/\\1/')}\" >&3;; \
        *fsfreeze-freeze*) fsfreeze --freeze /mnt && echo freeze >>/tmp/asked; echo '{\"return\": 1}' >&3;; \
        *fsfreeze-thaw*) fsfreeze --unfreeze /mnt && echo thaw >>/tmp/asked; echo '{\"return\": 1}' >&3;; \
        *) echo '{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"unknown\"}}' >&3;; esac; done) >/tmp/agent.log 2>&1 &";
    guest.output(script).unwrap();
}

#[test]
fn with_the_guests_agent_its_file_systems_are_flushed_and_frozen_at_the_instant() {
    let world = World::new();
    let call = world.call();
    let a = world.volume("a", DiskFormat::Qcow2);
    let over = world.overlay("over", &a);
    format(&a);
    world.load(&a);
    world.load(&over);
    world.start(&world.domain("vm", [disk("vda", &a.image)]).with_agent(), false);
    let machine = world.machine("vm");
    let mut guest = world.console("vm");
    guest
        .output("set -e; mount -t ext4 /dev/vda /mnt; echo 100000 >/proc/sys/vm/dirty_writeback_centisecs")
        .unwrap();
    agent(&mut guest);
    guest
        .output("yes ONLY-IN-THE-GUESTS-MEMORY | head -c 65536 >/mnt/file")
        .unwrap();
    machine
        .snapshot_disks(&call, &[overlay("vda", &over)], true)
        .unwrap();
    assert_eq!(guest.output("cat /tmp/asked").unwrap(), "freeze\nthaw");
    guest
        .output("yes LATER | head -c 65536 >/mnt/later; sync")
        .unwrap();
    holds_encrypted(&[&a], "ONLY-IN-THE-GUESTS-MEMORY");
    holds_encrypted(&[&over, &a], "LATER");
    machine.merge_overlay(&call, &"vda".parse().unwrap()).unwrap();
    guest.output("umount /mnt").unwrap();
    machine.destroy(&call).unwrap();
}
