//! An agent, a daemon and a QEMU that are killed around every step that changes something, while new images are made for a guest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, getpid, kill_process};
use strongroom_endpoint_selector::{
    CopyVmDisk, DigestContent, Disk, DiskContent, Endpoint, EndpointError, HostAnswer, HostCommand,
    MergeVmDisk, ReconcileVms, SnapshotVmDisks, SourceImage, VmFacts,
};
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_secret::{Origin, Passphrase};
use strongroom_types::{Call, DiskTarget, VmId};
use zeroize::Zeroizing;

use crate::hook::Hook;
use crate::world::{MIB, QCOW2, RAW, Volume, World, agent};

/// Before which command something is killed: an even number is a command that changes something, an odd one that after it.
#[derive(Clone, Copy)]
struct Step(usize);

fn changes(command: &CommandSpec<'_>) -> bool {
    let said = command.to_string();
    let words = [
        "secret-",
        "snapshot-create",
        "blockcopy",
        "blockcommit",
        "--pivot",
        "--abort",
        "cryptsetup",
    ];
    words.iter().any(|word| said.contains(word))
}

/// A runner that does something once, at this step. Says afterwards how many of the commands before it changed something.
fn at(step: Step, seen: Arc<AtomicUsize>, work: impl Fn() + Send + Sync + 'static) -> Hook {
    let (done, changed) = (AtomicUsize::new(0), seen);
    Hook::before(move |_, command| {
        let before = changed.load(Ordering::SeqCst);
        let here = if step.0.is_multiple_of(2) {
            changes(command) && before == step.0 / 2
        } else {
            before == step.0 / 2 + 1
        };
        if here && done.fetch_add(1, Ordering::SeqCst) == 0 {
            work();
        }
        if changes(command) {
            changed.fetch_add(1, Ordering::SeqCst);
        }
    })
}

/// What is done with the disk at `vda`.
#[derive(Clone, Copy)]
enum What {
    Snapshot,
    Merge,
    Copy,
}

impl What {
    fn with<T>(self, new: &Volume, run: impl FnOnce(HostCommand<'_>) -> T) -> T {
        let (vm, target): (VmId, DiskTarget) = ("vm-1".parse().unwrap(), "vda".parse().unwrap());
        let overlays = [new.for_guest()];
        match self {
            Self::Snapshot => run(SnapshotVmDisks::new(&vm, &overlays).into()),
            Self::Merge => run(MergeVmDisk::new(&vm, &target).into()),
            Self::Copy => run(CopyVmDisk::new(&vm, new.for_guest()).into()),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Merge => "merge",
            Self::Copy => "copy",
        }
    }
}

/// A machine that has `root`, with something on it, and a disk that is to be.
struct Scene {
    world: World,
    root: Volume,
    digest: HostAnswer,
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let template = world.path("template.raw");
        let text: Vec<u8> = (0..MIB / 8).flat_map(u64::to_le_bytes).collect();
        std::fs::write(&template, text).unwrap();
        let content = DiskContent::Template(SourceImage::new(&template, RAW));
        let root = world.made(Volume::named(world.path("root.qcow2"), QCOW2, "vda"), content);
        let digest = world.run(DigestContent::new(root.disk())).unwrap();
        Self { world, root, digest }
    }

    fn new_disk(&self, step: Step) -> Volume {
        let mut new = Volume::named(self.world.path(&format!("new-{}.qcow2", step.0)), QCOW2, "vda");
        new.id = self.root.id.clone();
        new.passphrase = "pp-2".parse().unwrap();
        new
    }

    /// The machine, in front of what is to be done.
    fn begin(&self, what: What, new: &Volume) {
        self.world.start_paused(&[self.root.for_guest()]).unwrap();
        if let What::Merge = what {
            What::Snapshot.with(new, |command| self.world.ask(command));
        }
    }

    /// What an agent finds that comes afterwards.
    fn reconciled(&self) -> Vec<VmFacts> {
        let HostAnswer::Vms(all) = self.world.run(ReconcileVms::new(&[])).unwrap() else {
            panic!("no machines")
        };
        self.world.no_secrets();
        all
    }

    /// Finishes what may be half done, and looks whether the guest has all that it had.
    fn finish(&self, what: What, new: &Volume, found: &VmFacts, step: Step) {
        let place = |facts: &VmFacts| facts.disk(&self.root.target).unwrap().location.clone();
        let there = place(found) == new.location;
        assert!(
            there || place(found) == self.root.location,
            "step {}: {found:?}",
            step.0
        );
        // What is not under the guest is nowhere.
        assert_eq!(new.path().exists(), there, "step {}", step.0);
        match what {
            What::Snapshot if there => {}
            _ => drop(what.with(new, |command| self.world.ask(command))),
        }
        if let What::Snapshot = what {
            What::Merge.with(new, |command| self.world.ask(command));
        }
        self.world.power_off();
        let digest = |disk: Disk<'_>| self.world.run(DigestContent::new(disk)).unwrap();
        if let What::Copy = what {
            assert_eq!(digest(new.disk()), self.digest, "step {}", step.0);
            std::fs::remove_file(new.path()).unwrap();
        }
        assert_eq!(digest(self.root.disk()), self.digest, "step {}", step.0);
        assert!(!new.path().exists());
        self.nothing_else();
    }

    fn nothing_else(&self) {
        let names = std::fs::read_dir(self.world.host().shared()).unwrap();
        let mut names: Vec<_> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| Path::new(name).extension().is_none_or(|e| e != "console"))
            .collect();
        names.sort();
        assert_eq!(names, ["root.qcow2", "template.raw"]);
    }
}

/// Run by name with a job it is an agent that is killed; else it does nothing.
#[test]
fn one_agent_that_is_killed() {
    let words: Vec<String> = std::env::args()
        .filter_map(|word| word.strip_prefix("image-job=").map(str::to_owned))
        .collect();
    let [uri, what, step, path, key] = words.as_slice() else {
        return;
    };
    let what = [What::Snapshot, What::Merge, What::Copy]
        .into_iter()
        .find(|known| known.word() == what)
        .unwrap();
    let mut new = Volume::named(path, QCOW2, "vda");
    new.id = "root".parse().unwrap();
    new.passphrase = "pp-2".parse().unwrap();
    let key = Zeroizing::new(std::fs::read(key).unwrap());
    new.key = Some(Passphrase::restore(key, Origin::Generated).unwrap());
    let hook = at(Step(step.parse().unwrap()), Arc::default(), || {
        kill_process(getpid(), Signal::KILL).unwrap();
    });
    let agent = HostAgent::new("h1".parse().unwrap(), ToolPaths::system(), Arc::new(hook))
        .with_hypervisor(uri.parse().unwrap());
    what.with(&new, |command| drop(agent.run(&Call::new(), &command).unwrap()));
}

/// Runs it in a process of its own, and says whether that came to its end.
fn in_a_process(scene: &Scene, what: What, step: Step, new: &Volume) -> bool {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let key = memory.path().join("key");
    std::fs::write(&key, new.key.as_ref().unwrap().expose_secret()).unwrap();
    let words = [
        scene.world.host().uri(),
        what.word().to_owned(),
        step.0.to_string(),
        new.path().display().to_string(),
        key.display().to_string(),
    ];
    let program = Program::at(std::env::current_exe().unwrap()).unwrap();
    let command = CommandSpec::new(program)
        .args([
            "--exact",
            "killed_images::one_agent_that_is_killed",
            "--nocapture",
        ])
        .args(words.iter().map(|word| format!("image-job={word}")));
    match SystemRunner::new().run(&command, &Watch::nobody()) {
        Ok(done) if done.code == 0 => {
            assert!(String::from_utf8_lossy(&done.stdout).contains("1 passed"));
            true
        }
        Ok(done) => panic!(
            "{}",
            String::from_utf8_lossy(&done.stdout).into_owned() + &done.message()
        ),
        // It was killed.
        Err(_) => false,
    }
}

#[test]
fn a_killed_agent_leaves_a_snapshot_whole_or_undone() {
    killed_agents(What::Snapshot);
}

#[test]
fn a_killed_agent_leaves_a_merge_whole_or_undone() {
    killed_agents(What::Merge);
}

#[test]
fn a_killed_agent_leaves_a_copy_whole_or_undone() {
    killed_agents(What::Copy);
}

#[track_caller]
fn killed_agents(what: What) {
    let scene = Scene::new();
    let (mut number, mut places) = (0, std::collections::BTreeSet::new());
    loop {
        let step = Step(number);
        let new = scene.new_disk(step);
        scene.begin(what, &new);
        let whole = in_a_process(&scene, what, step, &new);
        let all = scene.reconciled();
        let found = all.first().unwrap();
        places.insert(found.disk(&scene.root.target).unwrap().location == new.location);
        scene.finish(what, &new, found, step);
        if whole {
            break;
        }
        number += 1;
    }
    assert!(number >= 4, "{}: only {number} steps", what.word());
    let word = what.word();
    assert_eq!(
        places.len(),
        2,
        "{word}: it was never killed on both sides of the change"
    );
}

#[test]
fn a_killed_daemon_leaves_a_copy_whole_or_undone() {
    let scene = Scene::new();
    for number in 0.. {
        let (step, seen) = (Step(number), Arc::new(AtomicUsize::new(0)));
        let new = scene.new_disk(step);
        scene.begin(What::Copy, &new);
        let host = scene.world.host();
        let libvirtd = Pid::from_raw(host.libvirtd_pid().unwrap()).unwrap();
        let killed = Arc::new(AtomicUsize::new(0));
        let count = killed.clone();
        let hook = at(step, seen, move || {
            count.fetch_add(1, Ordering::SeqCst);
            kill_process(libvirtd, Signal::KILL).unwrap();
        });
        let answer = copied(&scene, hook, &new);
        if killed.load(Ordering::SeqCst) == 0 {
            answer.unwrap();
            scene.world.power_off();
            assert!(number >= 8, "only {number} steps");
            return;
        }
        host.kill_libvirtd().unwrap();
        host.start_libvirtd().unwrap();
        let all = scene.reconciled();
        scene.finish(What::Copy, &new, all.first().unwrap(), step);
    }
}

fn copied(scene: &Scene, hook: Hook, new: &Volume) -> Result<HostAnswer, EndpointError> {
    let agent = agent(scene.world.host(), Arc::new(hook));
    What::Copy.with(new, |command| agent.run(&Call::new(), &command))
}

#[test]
fn a_killed_qemu_leaves_a_disk_with_all_the_guest_had_and_no_key() {
    let scene = Scene::new();
    for number in 0.. {
        let step = Step(number);
        let new = scene.new_disk(step);
        scene.begin(What::Copy, &new);
        let qemu = Pid::from_raw(scene.world.host().qemu_pid("vm-1").unwrap()).unwrap();
        let killed = Arc::new(AtomicUsize::new(0));
        let count = killed.clone();
        let hook = at(step, Arc::default(), move || {
            count.fetch_add(1, Ordering::SeqCst);
            kill_process(qemu, Signal::KILL).unwrap();
        });
        let answer = copied(&scene, hook, &new);
        if killed.load(Ordering::SeqCst) == 0 {
            answer.unwrap();
            scene.world.power_off();
            assert!(number >= 8, "only {number} steps");
            return;
        }
        assert_eq!(scene.reconciled(), []);
        let digest = |disk: Disk<'_>| scene.world.run(DigestContent::new(disk)).unwrap();
        assert_eq!(digest(scene.root.disk()), scene.digest, "step {number}");
        // What the guest may have written to stays, and opens.
        if new.path().exists() {
            assert_eq!(digest(new.disk()), scene.digest, "step {number}");
            std::fs::remove_file(new.path()).unwrap();
        }
        scene.nothing_else();
    }
}
