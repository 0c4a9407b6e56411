//! Disks on block devices, of which nothing else keeps two machines apart.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use strongroom_endpoint_selector::{
    AttachVmDisk, BlockDevice, Disk, DiskLocation, ErrorKind, FormatDevice, StartVm, VmDisk,
};
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_lab::find_in;
use strongroom_types::{DeviceSize, EncryptionFormat, VmId};

use crate::world::{MIB, QCOW2, RAW, Volume, World, refused};

/// A loop device that is detached when dropped.
pub(crate) struct Loop {
    pub(crate) path: String,
    pub(crate) backing: PathBuf,
}

pub(crate) fn tool(name: &str, words: &[&str]) -> String {
    let program = Program::find(name).unwrap_or_else(|e| panic!("{e}: cargo xtask setup installs it"));
    let command = CommandSpec::new(program).args(words);
    let done = SystemRunner::new().run(&command, &Watch::nobody()).unwrap();
    assert_eq!(done.code, 0, "{command}: {}", done.message());
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

impl Loop {
    pub(crate) fn of_zeros(world: &World, name: &str, bytes: u64) -> Self {
        let backing = world.path(name);
        std::fs::File::create_new(&backing)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        // One at a time: who is late claims, for an instant, the device that another one just got.
        let one_at_a_time = std::fs::File::open("/dev/loop-control").unwrap();
        flock(&one_at_a_time, FlockOperation::LockExclusive).unwrap();
        let path = tool("losetup", &["--find", "--show", backing.to_str().unwrap()]);
        Self { path, backing }
    }

    /// A volume on it that is formatted.
    pub(crate) fn formatted(&self, world: &World, target: &str) -> Volume {
        let volume = Volume::named(&self.backing, RAW, target).on_device(&self.path);
        let key = volume.key.as_ref().unwrap();
        let format = FormatDevice::new(&volume.id, &volume.location, EncryptionFormat::Luks1, key);
        world.run(format).unwrap();
        volume
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let program = Program::find("losetup").unwrap();
        let detach = CommandSpec::new(program).args(["--detach", &self.path]);
        drop(SystemRunner::new().run(&detach, &Watch::nobody()));
    }
}

#[test]
fn a_guest_writes_ciphertext_to_a_device() {
    let world = World::new();
    let device = Loop::of_zeros(&world, "vol-9", 34 * MIB);
    let volume = device.formatted(&world, "vdb");
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let mut guest = world.start(&[root.for_guest()]);
    world.ask(AttachVmDisk::new(&world.vm, volume.for_guest()));
    guest.write_canary("vdb", 5, "ONDEVICE").unwrap();
    assert_eq!(guest.read_canary("vdb", 5).unwrap(), "ONDEVICE");
    assert_eq!(guest.disk_bytes("vdb").unwrap(), 32 * MIB);
    assert_eq!(find_in([device.backing.as_path()], "ONDEVICE").unwrap(), []);
}

#[test]
fn a_device_is_one_machines_by_whatever_node_it_is_reached() {
    let world = World::new();
    let device = Loop::of_zeros(&world, "vol-9", 34 * MIB);
    let volume = device.formatted(&world, "vda");
    world.start_paused(&[volume.for_guest()]).unwrap();
    let node = world.path("node");
    let number = std::fs::metadata(&device.path).unwrap().rdev();
    mknodat(CWD, &node, FileType::BlockDevice, Mode::from(0o600), number).unwrap();
    let (other, console): (VmId, _) = ("vm-2".parse().unwrap(), world.path("vm-2.console"));
    for location in [DiskLocation::block(&node), volume.location.clone()] {
        let disk = VmDisk::new(
            &volume.target,
            &volume.id,
            Disk::new(&location, RAW, volume.protection()),
        );
        let disks = [disk];
        let start = StartVm::new(world.machine(&other, &console, &disks).paused());
        refused(world.run(start), ErrorKind::Busy, &["vm-1"]);
    }
    world.no_secrets();
}

#[test]
fn a_device_that_is_larger_than_its_disk_is_none_for_a_guest() {
    let world = World::new();
    let device = Loop::of_zeros(&world, "vol-9", 36 * MIB);
    let volume = device.formatted(&world, "vda");
    let used = DeviceSize::new(34 * MIB).unwrap();
    let location = DiskLocation::Block(BlockDevice::new(&device.path).with_used(used));
    let disk = VmDisk::new(
        &volume.target,
        &volume.id,
        Disk::new(&location, RAW, volume.protection()),
    );
    refused(
        world.start_paused(&[disk]),
        ErrorKind::Unsupported,
        &["would see"],
    );
    world.nothing_runs();
}
