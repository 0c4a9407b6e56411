//! Hosts that come up for real, with guests on them.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use strongroom_exec::{CommandSpec, Program, RunError, Runner, SystemRunner, Watch};
use strongroom_lab::{Console, GuestImage, Hypervisor, Hypervisors, LINK, LabError, LabPlan, find_in};

/// A guest with one plain disk, and the path of its console inside.
fn domain(name: &str, host: &Hypervisor, disk: &Path) -> (String, PathBuf) {
    let image = GuestImage::ready().unwrap();
    let console = host.local().join(format!("{name}.console"));
    let xml = format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>160</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{}</kernel><initrd>{}</initrd><cmdline>{}</cmdline></os>\
         <features><acpi/></features><cpu mode='maximum'/><devices>\
         <disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='{}'/><target dev='vda' bus='virtio'/></disk>\
         <serial type='unix'><source mode='bind' path='{}'/></serial><memballoon model='none'/></devices></domain>",
        image.kernel.display(),
        image.initramfs.display(),
        image.cmdline,
        disk.display(),
        console.display()
    );
    (xml, console)
}

fn boot(name: &str, host: &Hypervisor) -> Console {
    let disk = host.local().join(format!("{name}.raw"));
    File::create(host.outside(&disk))
        .unwrap()
        .set_len(16 << 20)
        .unwrap();
    let (xml, console) = domain(name, host, &disk);
    let file = host.shared().join(format!("{name}.xml"));
    fs::write(&file, xml).unwrap();
    virsh(host, &["create", file.to_str().unwrap()]);
    Console::connect(&host.outside(&console)).unwrap()
}

fn virsh(host: &Hypervisor, words: &[&str]) -> String {
    let done = host.virsh(words.iter().copied()).unwrap();
    assert_eq!(done.code, 0, "{words:?}: {}\n{}", done.message(), host.logs());
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn a_guest_answers_and_its_disk_has_what_it_wrote() {
    let begun = std::time::Instant::now();
    let lab = Hypervisors::one().unwrap();
    println!("up after {:?}", begun.elapsed());
    let host = lab.first();
    let mut guest = boot("one", host);
    println!("answers after {:?}", begun.elapsed());
    let answer = guest
        .run("echo hello; echo wrong >&2; exit 7", Duration::from_secs(60))
        .unwrap();
    assert_eq!((answer.output.as_str(), answer.code), ("hello\nwrong\n", 7));
    assert_eq!(guest.disk_bytes("vda").unwrap(), 16 << 20);
    guest.write_canary("vda", 1000, "CANARY-1").unwrap();
    assert_eq!(guest.read_canary("vda", 1000).unwrap(), "CANARY-1");
    let disk = host.outside(&host.local().join("one.raw"));
    let hits = find_in([&disk], "CANARY-1\n").unwrap();
    assert_eq!(hits[0].offset, 1000 * 4096);
    guest.write_canary("vdb", 0, "X").unwrap_err();
    println!("done after {:?}", begun.elapsed());
}

/// The processes whose command line has this.
fn processes(part: &str) -> BTreeSet<String> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| {
            fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(part))
        })
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect()
}

/// What this machine could be left with: mounts, network devices, files in libvirt's own directories.
fn machine() -> [BTreeSet<String>; 3] {
    let names = |path: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|e| e.path().display().to_string()).collect()
    };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let libvirt = [
        "/run",
        "/etc/libvirt",
        "/var/lib/libvirt",
        "/var/log/libvirt",
        "/var/cache/libvirt",
    ];
    [
        // Tests of others mount and unmount below the directory for temporary files meanwhile.
        mounts
            .lines()
            .filter(|line| line.contains("strongroom-lab-"))
            .map(str::to_owned)
            .collect(),
        names("/sys/class/net"),
        libvirt.into_iter().flat_map(names).collect(),
    ]
}

/// The directory of the lab that this host is in.
fn directory(host: &Hypervisor) -> PathBuf {
    host.shared().parent().unwrap().to_owned()
}

#[test]
fn nothing_is_left_of_a_lab_that_goes() {
    let before = machine();
    let lab = Hypervisors::up().unwrap();
    let place = directory(lab.first());
    let name = place.to_str().unwrap().to_owned();
    let _guest = boot("left", lab.first());
    let qemu = lab.first().qemu_pid("left").unwrap();
    let libvirtd = [lab.first(), lab.second()].map(|host| host.libvirtd_pid().unwrap());
    assert!(
        processes(&name).contains(&qemu.to_string()),
        "{qemu} is no QEMU of this lab"
    );
    drop(lab);
    assert_eq!(processes(&name), BTreeSet::new());
    for pid in libvirtd.into_iter().chain([qemu]) {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} runs");
    }
    assert!(!place.exists(), "{name} is there");
    assert_eq!(machine(), before);
}

#[test]
fn nothing_of_a_lab_runs_on_when_its_owner_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let owner = CommandSpec::new(Program::at(env!("CARGO_BIN_EXE_lab-hold")).unwrap()).arg(place.path());
    let (said, lines) = std::sync::mpsc::channel();
    let said = Mutex::new(said);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let send = |line: &[u8]| {
                let _ = said
                    .lock()
                    .unwrap()
                    .send(String::from_utf8(line.to_vec()).unwrap());
            };
            SystemRunner::new().run(&owner, &Watch::nobody().with_lines(&send))
        });
        let next = || lines.recv_timeout(Duration::from_secs(60)).unwrap();
        let hosts = [next(), next()];
        let first: Vec<i32> = hosts
            .iter()
            .map(|line| line.split('\t').nth(1).unwrap().parse().unwrap())
            .collect();
        let directory = hosts[0].split('\t').nth(4).unwrap();
        let directory = Path::new(directory).ancestors().nth(2).unwrap().to_str().unwrap();
        let ends: Vec<_> = first
            .iter()
            .map(|pid| pidfd_open(Pid::from_raw(*pid).unwrap(), PidfdFlags::empty()).unwrap())
            .collect();
        assert_eq!(next(), "");

        let owners = processes(place.path().to_str().unwrap());
        assert_eq!(owners.len(), 1, "{owners:?}");
        let owner: i32 = owners.first().unwrap().parse().unwrap();
        kill_process(Pid::from_raw(owner).unwrap(), Signal::KILL).unwrap();
        let ended = running.join().unwrap();
        assert!(
            matches!(ended, Err(RunError::Signal { signal: 9, .. })),
            "{ended:?}"
        );
        let minute = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        for end in &ends {
            // Readable when the process has ended; the first of a namespace ends last.
            assert_eq!(poll(&mut [PollFd::new(end, PollFlags::IN)], Some(&minute)), Ok(1));
        }
        assert_eq!(processes(directory), BTreeSet::new());
        // Its files are left to the next lab.
        let next = Hypervisors::one().unwrap();
        assert!(!Path::new(directory).exists(), "{directory}");
        drop(next);
    });
}

#[test]
fn two_labs_at_once_know_nothing_of_each_other() {
    let (one, other) = (Hypervisors::up().unwrap(), Hypervisors::up().unwrap());
    let _guest = boot("same", one.first());
    assert_eq!(virsh(one.first(), &["list", "--name"]).trim(), "same");
    for host in [one.second(), other.first(), other.second()] {
        assert_eq!(virsh(host, &["list", "--name", "--all"]).trim(), "");
    }
    // The same address is another host in each.
    let uuid = |lab: &Hypervisors| {
        let peer = lab.second().migration_uri();
        let ask = CommandSpec::new(Program::find("virsh").unwrap()).args(["-q", "-c", &peer, "capabilities"]);
        let done = SystemRunner::new()
            .run(&lab.first().enter(&ask).unwrap(), &Watch::nobody())
            .unwrap();
        assert_eq!(done.code, 0, "{}", done.message());
        String::from_utf8(done.stdout)
            .unwrap()
            .lines()
            .find(|l| l.contains("<uuid>"))
            .unwrap()
            .to_owned()
    };
    assert_ne!(uuid(&one), uuid(&other));
    drop(one);
    assert_eq!(virsh(other.second(), &["uri"]).trim(), other.second().uri());
}

#[test]
fn a_guest_survives_its_libvirtd_and_not_its_qemu() {
    let lab = Hypervisors::one().unwrap();
    let host = lab.first();
    let mut guest = boot("tough", host);
    guest.output("echo kept >/tmp/memory").unwrap();
    let (qemu, libvirtd) = (host.qemu_pid("tough").unwrap(), host.libvirtd_pid());
    host.restart_libvirtd().unwrap();
    assert_ne!(host.libvirtd_pid(), libvirtd);
    assert_eq!(virsh(host, &["domstate", "tough"]).trim(), "running");
    host.kill_libvirtd().unwrap();
    assert_eq!(host.libvirtd_pid(), None);
    let silent = host.virsh(["list"]).unwrap();
    assert_eq!(silent.code, 1, "{}", silent.message());
    assert_eq!(guest.output("cat /tmp/memory").unwrap(), "kept");
    host.start_libvirtd().unwrap();
    assert_eq!(virsh(host, &["domstate", "tough"]).trim(), "running");
    assert_eq!(host.qemu_pid("tough").unwrap(), qemu);

    host.kill_qemu("tough").unwrap();
    assert!(!Path::new(&format!("/proc/{qemu}/exe")).exists());
    let gone = guest.run("true", Duration::from_secs(60)).unwrap_err();
    assert!(matches!(gone, LabError::Io { .. }), "{gone}");
}

#[test]
fn a_guest_moves_over_the_wire_and_only_tls_is_taken() {
    let lab = Hypervisors::up().unwrap();
    let (from, to) = (lab.first(), lab.second());
    let disk = from.shared().join("moved.raw");
    File::create(&disk).unwrap().set_len(16 << 20).unwrap();
    let (xml, console) = domain("moved", from, &disk);
    let file = from.shared().join("moved.xml");
    fs::write(&file, xml).unwrap();
    virsh(from, &["create", file.to_str().unwrap()]);
    let mut guest = Console::connect(&from.outside(&console)).unwrap();
    guest
        .output("echo MEMORY-CANARY >/tmp/canary; cat /tmp/canary")
        .unwrap();

    let uri = to.migration_uri();
    let plain = from.virsh(["migrate", "--live", "--p2p", "moved", &uri]).unwrap();
    assert_ne!(plain.code, 0);
    assert!(plain.message().contains("VIR_MIGRATE_TLS"), "{}", plain.message());

    let capture = from.captured(LINK).unwrap();
    virsh(from, &["migrate", "--live", "--p2p", "--tls", "moved", &uri]);
    let captured = capture.stop().unwrap();
    assert!(captured.packets > 100, "{}", captured.packets);
    assert_eq!(find_in([&captured.file], "MEMORY-CANARY").unwrap(), []);

    let mut guest = Console::connect(&to.outside(&console)).unwrap();
    assert_eq!(guest.output("cat /tmp/canary").unwrap(), "MEMORY-CANARY");
    from.qemu_pid("moved").unwrap_err();
}

#[test]
fn a_guest_without_tls_is_seen_on_the_wire_and_a_capture_of_nothing_is_refused() {
    let lab = LabPlan::new().without_forced_tls().up().unwrap();
    let (from, to) = (lab.first(), lab.second());
    let silent = from.captured("lo").unwrap().stop().unwrap_err();
    assert!(matches!(silent, LabError::Capture { packets: 0, .. }), "{silent}");
    from.captured("no-such-link").unwrap_err();

    let disk = from.shared().join("seen.raw");
    File::create(&disk).unwrap().set_len(16 << 20).unwrap();
    let (xml, console) = domain("seen", from, &disk);
    let file = from.shared().join("seen.xml");
    fs::write(&file, xml).unwrap();
    virsh(from, &["create", file.to_str().unwrap()]);
    let mut guest = Console::connect(&from.outside(&console)).unwrap();
    guest
        .output("yes MEMORY-CANARY | head -c 65536 >/tmp/canary")
        .unwrap();
    let capture = from.captured(LINK).unwrap();
    virsh(from, &["migrate", "--live", "--p2p", "seen", &to.migration_uri()]);
    let hits = find_in([capture.stop().unwrap().file], "MEMORY-CANARY").unwrap();
    assert!(hits.len() > 1000, "{}", hits.len());
}
