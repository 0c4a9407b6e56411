//! An agent that is killed before each step of a command, and a daemon.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Signal, getpid, kill_process};
use strongroom_endpoint_selector::{
    AttachVmDisk, Disk, DiskLocation, Endpoint, HostAnswer, HostCommand, InspectVm, ReconcileVms, StartVm,
    VerifyDisk,
};
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_secret::{Origin, Passphrase};
use strongroom_types::{Call, VmId};
use zeroize::Zeroizing;

use crate::hook::Hook;
use crate::world::{QCOW2, RAW, Volume, World, agent, refused};

/// What a killed agent was doing, for the process that does it.
struct Job {
    uri: String,
    command: String,
    /// Before which of its steps it is killed.
    step: usize,
    volumes: Vec<Volume>,
    shared: std::path::PathBuf,
    keys: std::path::PathBuf,
}

impl Job {
    fn words(&self) -> Vec<String> {
        let mut words = vec![self.uri.clone(), self.command.clone(), self.step.to_string()];
        words.push(self.shared.display().to_string());
        words.push(self.keys.display().to_string());
        for volume in &self.volumes {
            let name = volume.path().file_name().unwrap().to_str().unwrap();
            words.push(format!("{name}:{}:{}", volume.format, volume.target));
        }
        words
    }

    fn from(words: &[String]) -> Self {
        let [uri, command, step, shared, keys, volumes @ ..] = words else {
            panic!("{words:?}")
        };
        let (shared, keys) = (Path::new(shared), Path::new(keys));
        let volumes = volumes.iter().map(|word| {
            let parts: Vec<&str> = word.split(':').collect();
            let mut volume = Volume::named(shared.join(parts[0]), parts[1].parse().unwrap(), parts[2]);
            let key = Zeroizing::new(std::fs::read(keys.join(parts[0])).unwrap());
            volume.key = Some(Passphrase::restore(key, Origin::Generated).unwrap());
            volume
        });
        Self {
            uri: uri.clone(),
            command: command.clone(),
            step: step.parse().unwrap(),
            volumes: volumes.collect(),
            shared: shared.to_owned(),
            keys: keys.to_owned(),
        }
    }

    /// Runs the command as far as it comes.
    fn work(&self, world: Option<&World>) {
        let step = self.step;
        let hook = Hook::before(move |number, _| {
            if number == step {
                kill_process(getpid(), Signal::KILL).unwrap();
            }
        });
        let agent = HostAgent::new("h1".parse().unwrap(), ToolPaths::system(), Arc::new(hook))
            .with_hypervisor(self.uri.parse().unwrap());
        let _ = world;
        self.with_command(|command| drop(agent.run(&Call::new(), &command).unwrap()));
    }

    fn with_command<T>(&self, run: impl FnOnce(HostCommand<'_>) -> T) -> T {
        let vm: VmId = "vm-1".parse().unwrap();
        let image = strongroom_lab::GuestImage::ready().unwrap();
        let disks: Vec<_> = self.volumes.iter().map(Volume::for_guest).collect();
        let boot = strongroom_endpoint_selector::Boot::Kernel {
            kernel: &image.kernel,
            initramfs: Some(&image.initramfs),
            command_line: &image.cmdline,
        };
        let machine =
            strongroom_endpoint_selector::Vm::new(&vm, strongroom_types::ByteSize::mib(160), 1, boot)
                .with_disks(&disks);
        match self.command.as_str() {
            "start" => run(StartVm::new(machine).into()),
            "attach" => run(AttachVmDisk::new(&vm, disks[0]).into()),
            other => panic!("{other}"),
        }
    }
}

/// Run by name with a job it is an agent that is killed; else it does nothing.
#[test]
fn one_agent_that_is_killed() {
    let words: Vec<String> = std::env::args()
        .filter_map(|word| word.strip_prefix("job=").map(str::to_owned))
        .collect();
    if words.is_empty() {
        return;
    }
    Job::from(&words).work(None);
}

/// Runs the job in a process of its own, and says whether it came to its end.
fn in_a_process(job: &Job) -> bool {
    let program = Program::at(std::env::current_exe().unwrap()).unwrap();
    let command = CommandSpec::new(program)
        .args(["--exact", "killed::one_agent_that_is_killed", "--nocapture"])
        .args(job.words().iter().map(|word| format!("job={word}")));
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

/// Keys for the other process, in memory.
fn keys(volumes: &[&Volume]) -> tempfile::TempDir {
    let place = tempfile::tempdir_in("/dev/shm").unwrap();
    for volume in volumes {
        let name = volume.path().file_name().unwrap();
        std::fs::write(
            place.path().join(name),
            volume.key.as_ref().unwrap().expose_secret(),
        )
        .unwrap();
    }
    place
}

#[test]
fn a_start_that_is_killed_before_any_step_leaves_no_key_and_is_finished_or_undone() {
    let world = World::new();
    let (one, two) = (
        world.volume("one.qcow2", QCOW2, "vda"),
        world.volume("two.luks", RAW, "vdb"),
    );
    let keys = keys(&[&one, &two]);
    let mut job = Job {
        uri: world.host().uri(),
        command: "start".into(),
        step: 0,
        volumes: vec![one, two],
        shared: world.host().shared().to_owned(),
        keys: keys.path().to_owned(),
    };
    let mut ran_meanwhile = 0;
    loop {
        let whole = in_a_process(&job);
        let HostAnswer::Vms(running) = world.run(ReconcileVms::new(&[])).unwrap() else {
            panic!("no machines")
        };
        world.no_secrets();
        if whole {
            assert_eq!(running.len(), 1);
            break;
        }
        ran_meanwhile += running.len();
        // What runs is what was asked for; what does not starts.
        job.with_command(|command| world.ask(command));
        let facts = world.inspect();
        assert_eq!(
            facts.state,
            strongroom_endpoint_selector::VmState::Running,
            "step {}",
            job.step
        );
        assert!(facts.disks.iter().all(|disk| disk.encryption.is_some()));
        world.power_off();
        for volume in &job.volumes {
            world.run(VerifyDisk::new(volume.disk())).unwrap();
        }
        job.step += 1;
    }
    assert!(job.step > 15, "only {} steps", job.step);
    assert!(ran_meanwhile > 0, "it was never killed after the guest ran");
}

#[test]
fn an_attach_that_is_killed_before_any_step_leaves_no_key_and_the_same_command_finishes_it() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let data = world.volume("data.luks", RAW, "vdb");
    let keys = keys(&[&data]);
    let mut job = Job {
        uri: world.host().uri(),
        command: "attach".into(),
        step: 0,
        volumes: vec![data],
        shared: world.host().shared().to_owned(),
        keys: keys.path().to_owned(),
    };
    loop {
        world.start_paused(&[root.for_guest()]).unwrap();
        let whole = in_a_process(&job);
        world.run(ReconcileVms::new(&[])).unwrap();
        world.no_secrets();
        job.with_command(|command| world.ask(command));
        assert_eq!(world.inspect().disks.len(), 2, "step {}", job.step);
        world.power_off();
        if whole {
            break;
        }
        job.step += 1;
    }
    assert!(job.step > 6, "only {} steps", job.step);
}

#[test]
fn a_daemon_that_is_killed_before_any_step_of_a_start_leaves_nothing_that_is_not_undone() {
    let world = World::new();
    let volume = world.volume("one.qcow2", QCOW2, "vda");
    let console = world.path("vm-1.console");
    let disks = [volume.for_guest()];
    let start = HostCommand::from(StartVm::new(world.machine(&world.vm, &console, &disks).paused()));
    let libvirtd = world.host().libvirtd_pid().unwrap();
    let mut steps = 0;
    for step in 0.. {
        let (seen, pid) = (
            Arc::new(AtomicUsize::new(0)),
            world.host().libvirtd_pid().unwrap(),
        );
        let count = seen.clone();
        let hook = Hook::before(move |number, _| {
            count.store(number + 1, Ordering::SeqCst);
            if number == step {
                // Gone, but for its parent, when this returns or soon after: either is a step.
                kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
            }
        });
        let answer = agent(world.host(), Arc::new(hook)).run(&Call::new(), &start);
        if seen.load(Ordering::SeqCst) <= step {
            answer.unwrap();
            steps = step;
            break;
        }
        world.host().kill_libvirtd().unwrap();
        world.host().start_libvirtd().unwrap();
        world.run(ReconcileVms::new(&[])).unwrap();
        world.no_secrets();
        let started = world.agent.run(&Call::new(), &start);
        assert!(
            matches!(started, Ok(HostAnswer::Vm(_))),
            "step {step}: {started:?}"
        );
        world.power_off();
    }
    assert!(steps > 8, "only {steps} steps");
    assert_ne!(world.host().libvirtd_pid().unwrap(), libvirtd);
    let location: &DiskLocation = &volume.location;
    world.power_off();
    refused(
        world.run(InspectVm::new(&world.vm)),
        strongroom_endpoint_selector::ErrorKind::NotFound,
        &[],
    );
    world
        .run(VerifyDisk::new(Disk::new(location, QCOW2, volume.protection())))
        .unwrap();
}
