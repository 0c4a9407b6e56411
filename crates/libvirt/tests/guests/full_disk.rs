use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strongroom_exec::{CommandSpec, Program};
use strongroom_lab::find_in;
use strongroom_libvirt::{DiskOverlay, Image, MachineState, Source};
use strongroom_types::DiskFormat;

use crate::content::holds_encrypted;
use crate::snapshots::live;
use crate::world::{World, disk, run};

/// A small file system of the host, seen only by it.
struct Small<'w> {
    world: &'w World,
    path: PathBuf,
}

impl<'w> Small<'w> {
    fn new(world: &'w World, size: &str) -> Self {
        let path = world.host().local().join("small");
        std::fs::create_dir(world.host().outside(&path)).unwrap();
        let small = Self { world, path };
        small.mount(&format!("size={size}"));
        small
    }

    fn mount(&self, options: &str) {
        let mount = CommandSpec::new(Program::find("mount").unwrap())
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(self.path.as_os_str());
        run(&self.world.host().enter(&mount).unwrap());
    }

    /// Where this machine finds a file on it.
    fn outside(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.world.host().pid()));
        let inside = self.path.strip_prefix("/").unwrap_or(Path::new(""));
        root.join(inside).join(name)
    }
}

#[test]
fn a_guest_whose_overlay_has_no_room_stops_and_goes_on_when_it_has() {
    let world = World::new();
    let call = world.call();
    let a = world.volume("a", DiskFormat::Qcow2);
    let mut over = world.overlay("over", &a);
    let small = Small::new(&world, "4M");
    std::fs::copy(&over.file, small.outside("over")).unwrap();
    std::fs::remove_file(&over.file).unwrap();
    over.file = small.outside("over");
    over.image = Image::encrypted(
        Source::File(small.path.join("over")),
        DiskFormat::Qcow2,
        over.secret.uuid(),
    );
    world.load(&a);
    world.load(&over);
    world.start(&world.domain("vm", [disk("vda", &a.image)]), false);
    let machine = world.machine("vm");
    let mut guest = world.console("vm");
    let overlay = DiskOverlay::new("vda".parse().unwrap(), over.image.clone());
    machine.snapshot_disks(&call, &[overlay], false).unwrap();
    world.unload(&over);

    guest
        .output(
            "(yes MORE-THAN-FITS | head -c 4194304 >/tmp/more; md5sum </tmp/more >/tmp/sum; \
             dd if=/tmp/more of=/dev/vda bs=64k conv=notrunc,fsync; echo $? >/tmp/written) >/dev/null 2>&1 &",
        )
        .unwrap();
    let until = Instant::now() + Duration::from_secs(180);
    while machine.state(&call).unwrap() != MachineState::Stopped {
        assert!(Instant::now() < until, "{}", world.host().logs());
    }
    assert_eq!(
        live(&machine, "vda").image.source.as_ref(),
        Some(over.image.source())
    );

    // As long as there is no room, going on ends in the same place.
    machine.resume(&call).unwrap();
    while machine.state(&call).unwrap() != MachineState::Stopped {
        assert!(Instant::now() < until, "{}", world.host().logs());
    }
    small.mount("remount,size=64M");
    // libvirt may not have heard of the last stop yet, and then takes it for running.
    loop {
        if machine.state(&call).unwrap() == MachineState::Stopped {
            machine.resume(&call).unwrap();
        }
        match guest.run("[ -e /tmp/written ]", Duration::from_secs(5)) {
            Ok(answer) if answer.code == 0 => break,
            _ => assert!(Instant::now() < until, "{}", world.host().logs()),
        }
    }
    assert_eq!(guest.output("cat /tmp/written").unwrap(), "0");
    guest
        .output("echo 3 >/proc/sys/vm/drop_caches; head -c 4194304 /dev/vda | md5sum | cmp - /tmp/sum")
        .unwrap();
    assert_eq!(machine.state(&call).unwrap(), MachineState::Running);
    holds_encrypted(&[&over, &a], "MORE-THAN-FITS");
    machine.merge_overlay(&call, &"vda".parse().unwrap()).unwrap();
    holds_encrypted(&[&a], "MORE-THAN-FITS");
    assert_eq!(find_in([&over.file], "MORE-THAN-FITS").unwrap(), []);
    machine.destroy(&call).unwrap();
}
