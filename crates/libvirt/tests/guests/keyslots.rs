use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strongroom_exec::{CommandSpec, Completed, Program, RunError, Runner, SystemRunner, Watch};
use strongroom_libvirt::{Connection, LibvirtError, Machine, Refusal};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::{Call, DiskFormat};

use crate::world::{Volume, World, disk};
use crate::writer::Writer;

/// Whether the passphrase opens the file, by qemu-img.
fn opens(volume: &Volume, key: &Passphrase) -> bool {
    let key = SecretFile::new(key).unwrap();
    let mut info = CommandSpec::new(Program::find("qemu-img").unwrap()).args(["convert", "-U", "-O", "raw"]);
    let path = key.path_in_child(|descriptor| info.pass(descriptor));
    let options = format!(
        "driver=qcow2,encrypt.key-secret=s,file.filename={}",
        volume.file.display()
    );
    let object = format!("secret,id=s,file={}", path.display());
    let copy = tempfile::NamedTempFile::new().unwrap();
    let info = info
        .args(["--object".to_owned(), object, "--image-opts".to_owned(), options])
        .arg(copy.path().as_os_str());
    let done = SystemRunner::new().run(&info, &Watch::nobody()).unwrap();
    let refused = done.message().contains("Invalid password");
    assert!(done.code == 0 || refused, "{}", done.message());
    done.code == 0
}

fn known(machine: &Machine<'_>) -> (Vec<String>, Vec<String>) {
    let call = Call::new();
    let nodes = machine.block_nodes(&call).unwrap();
    let mut objects = machine.objects(&call).unwrap();
    objects.sort();
    (nodes.into_iter().map(|node| node.name).collect(), objects)
}

#[test]
fn a_qcow2_gets_another_passphrase_twice_while_the_guest_writes_and_raw_luks_is_refused() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (
        world.volume("a", DiskFormat::Qcow2),
        world.volume("b", DiskFormat::Raw),
    );
    world.run_on([("vda", &a), ("vdb", &b)]);
    let machine = world.machine("vm");
    let mut guest = world.console("vm");
    guest.write_canary("vda", 10, "BEFORE").unwrap();
    let before = known(&machine);
    let target = "vda".parse().unwrap();
    let keys: Vec<Passphrase> = (0..3).map(|_| Passphrase::generate().unwrap()).collect();
    let (second, third, never) = (&keys[0], &keys[1], &keys[2]);

    let writer = Writer::start(&mut guest, "vda");
    machine.change_key(&call, &target, &a.key, second).unwrap();
    assert_eq!(known(&machine), before);
    assert_eq!((opens(&a, &a.key), opens(&a, second)), (false, true));
    machine.change_key(&call, &target, second, third).unwrap();
    machine.change_key(&call, &target, second, third).unwrap();
    assert_eq!(
        (opens(&a, &a.key), opens(&a, second), opens(&a, third)),
        (false, false, true)
    );
    let neither = machine.change_key(&call, &target, never, second).unwrap_err();
    assert!(matches!(neither, LibvirtError::WrongKey { .. }), "{neither:?}");
    assert_eq!(known(&machine), before);
    assert_eq!((opens(&a, third), opens(&a, second)), (true, false));

    // Whoever was at it dies, and the same again does the rest.
    let (mut from, mut to) = (third, second);
    for (at, after_it, both_open) in [
        ("object-add", true, (true, false)),
        ("\"active\"", true, (true, true)),
        ("-encryption-secret0", true, (true, false)),
        ("\"inactive\"", false, (true, true)),
        ("\"inactive\"", true, (false, true)),
    ] {
        let killed = Killed {
            at,
            after_it,
            dead: AtomicBool::new(false),
        };
        let uri = world.connection.uri().clone();
        let dying = Connection::find(Arc::new(killed), uri).unwrap();
        let error = dying
            .machine_with_uuid(machine.uuid())
            .change_key(&call, &target, from, to)
            .unwrap_err();
        println!("{at}: {error}");
        assert_eq!((opens(&a, from), opens(&a, to)), both_open, "{at}");
        machine.change_key(&call, &target, from, to).unwrap();
        assert_eq!((opens(&a, from), opens(&a, to)), (false, true), "{at}");
        assert_eq!(known(&machine), before, "{at}");
        (from, to) = (to, from);
    }
    let now = from;
    writer.finish(&mut guest);

    let raw = machine
        .change_key(&call, &"vdb".parse().unwrap(), &b.key, second)
        .unwrap_err();
    assert!(
        matches!(&raw, LibvirtError::Refused(Refusal::RawKeyslots(_))),
        "{raw:?}"
    );
    assert!(
        raw.to_string().contains("luksAddKey"),
        "it says what is safe: {raw}"
    );
    let said = format!(
        "{raw} {raw:?} {neither} {neither:?} {}",
        world.runner.lines().join("\n")
    );
    assert!(said.contains("--pass-fds"), "{said}");
    for key in keys.iter().chain([&a.key, &b.key]) {
        let text = std::str::from_utf8(key.expose_secret()).unwrap();
        assert!(!said.contains(text));
        let places = [
            world.host().outside("/var/log/libvirt".as_ref()),
            world.host().outside("/var/lib/libvirt".as_ref()),
            world.host().outside("/run/libvirt".as_ref()),
        ];
        assert_eq!(strongroom_lab::find_in(places, text).unwrap(), []);
    }

    // The disk can go, and comes back with the passphrase that it has now.
    assert_eq!(guest.read_canary("vda", 10).unwrap(), "BEFORE");
    machine.destroy(&call).unwrap();
    world.connection.load_secret(&call, &a.secret, now).unwrap();
    world.start(&world.domain("vm", [disk("vda", &a.image)]), true);
    machine.destroy(&call).unwrap();
}

/// Runs commands until a certain one, and from then on none: what a process does that is killed there.
#[derive(Debug)]
struct Killed {
    at: &'static str,
    after_it: bool,
    dead: AtomicBool,
}

impl Runner for Killed {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch) -> Result<Completed, RunError> {
        let over = Call::new().with_timeout(Duration::ZERO);
        let stop = Watch::call(&over);
        if self.dead.load(Ordering::SeqCst) {
            return SystemRunner::new().run(command, &stop);
        }
        if !command.to_string().contains(self.at) {
            return SystemRunner::new().run(command, watch);
        }
        self.dead.store(true, Ordering::SeqCst);
        SystemRunner::new().run(command, if self.after_it { watch } else { &stop })
    }
}
