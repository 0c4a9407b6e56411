use std::time::Duration;

use strongroom_lab::{Console, Hypervisors};
use strongroom_libvirt::{LibvirtError, MachineState, MigratedDisks, Migration};
use strongroom_types::{Call, DiskFormat, Interrupted};

use crate::migration::arrival;
use crate::place::{Host, Volume, until};

/// A guest on the first host that is on its way to the second, slowly.
struct Way<'h> {
    h1: &'h Host<'h>,
    h2: &'h Host<'h>,
    to: &'h Volume,
}

impl Way<'_> {
    /// Begins to move, does something when content is on its way, and says how the move ended.
    fn moving(&self, call: &Call, meanwhile: impl FnOnce()) -> Result<(), LibvirtError> {
        self.h2.load(&[self.to]);
        let uri = self.h2.lab.migration_uri().parse().unwrap();
        let migration =
            Migration::new(uri, MigratedDisks::Copied(vec![arrival("vda", self.to)])).with_rate(1);
        std::thread::scope(|scope| {
            let moving = scope.spawn(|| self.h1.machine("vm").migrate(call, &migration));
            until("content on its way", || {
                if moving.is_finished() {
                    return true;
                }
                let info = self.h1.lab.virsh(["domjobinfo", "vm"]).unwrap();
                let info = String::from_utf8_lossy(&info.stdout).into_owned();
                info.lines()
                    .filter_map(|line| line.strip_prefix("Data processed:"))
                    .any(|amount| !amount.trim().starts_with("0.000"))
            });
            meanwhile();
            moving.join().unwrap()
        })
    }

    /// The guest runs on the first host with a disk that works, and the other host has neither guest nor key.
    fn still_here(&self, guest: &mut Console, number: u64) {
        let call = Call::new();
        let machine = self.h1.machine("vm");
        until("the guest running on the first host only", || {
            machine.state(&call).unwrap() == MachineState::Running && self.h2.machines().is_empty()
        });
        until("the end of the copy", || {
            machine.block_jobs(&call).unwrap().is_empty()
        });
        let canary = format!("STILL-HERE-{number}");
        guest.write_canary("vda", number, &canary).unwrap();
        assert_eq!(guest.read_canary("vda", number).unwrap(), canary);
        self.h2.unload_all();
    }
}

#[test]
fn a_move_that_is_interrupted_leaves_the_guest_on_exactly_one_host() {
    let lab = Hypervisors::up().unwrap();
    let (h1, h2) = Host::both(&lab);
    let a = h1.volume("a", DiskFormat::Qcow2);
    let to = h2.volume("a", DiskFormat::Qcow2);
    h1.load(&[&a]);
    let mut guest = h1.start("vm", &[a.disk("vda")]);
    h1.unload_all();
    guest
        .output("dd if=/dev/zero of=/dev/vda bs=1M count=20 conv=fsync")
        .unwrap();
    let way = Way {
        h1: &h1,
        h2: &h2,
        to: &to,
    };

    let short = Call::new().with_timeout(Duration::from_secs(8));
    let late = way.moving(&short, || ()).unwrap_err();
    assert!(
        matches!(
            late,
            LibvirtError::Interrupted {
                action: "migrate",
                source: Interrupted::Deadline
            }
        ),
        "{late:?}"
    );
    way.still_here(&mut guest, 1);

    let broken = way
        .moving(&Call::new(), || lab.second().kill_libvirtd().unwrap())
        .unwrap_err();
    assert!(broken.to_string().contains("client socket is closed"), "{broken}");
    lab.second().start_libvirtd().unwrap();
    way.still_here(&mut guest, 2);

    let gone = way
        .moving(&Call::new(), || lab.first().kill_libvirtd().unwrap())
        .unwrap_err();
    assert!(matches!(gone, LibvirtError::Unreachable { .. }), "{gone:?}");
    lab.first().start_libvirtd().unwrap();
    way.still_here(&mut guest, 3);

    let killed = way
        .moving(&Call::new(), || h2.lab.kill_qemu("vm").unwrap())
        .unwrap_err();
    assert!(killed.to_string().contains("migration failed"), "{killed}");
    way.still_here(&mut guest, 4);

    // And then it can move.
    h2.load(&[&to]);
    let uri = lab.second().migration_uri().parse().unwrap();
    let migration = Migration::new(uri, MigratedDisks::Copied(vec![arrival("vda", &to)]));
    h1.machine("vm").migrate(&Call::new(), &migration).unwrap();
    h2.unload_all();
    assert_eq!((h1.machines(), h2.machines()), (String::new(), "vm".to_owned()));
    drop(guest);
    let mut guest = h2.console("vm");
    assert_eq!(guest.read_canary("vda", 3).unwrap(), "STILL-HERE-3");
}
