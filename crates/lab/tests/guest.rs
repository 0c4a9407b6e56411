//! Guests that boot for real.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::time::{Duration, Instant};

use strongroom_exec::{CommandSpec, Program, RunError, Runner, SystemRunner, Watch};
use strongroom_lab::{Guest, GuestError, disk, in_guest, is_guest};
use strongroom_types::{Call, Cancellation};

fn run(program: &str, words: &[&str]) -> String {
    let spec = CommandSpec::new(Program::find(program).unwrap_or_else(|e| panic!("{e}"))).args(words);
    let done = SystemRunner::new().run(&spec, &Watch::nobody()).unwrap();
    assert_eq!(done.code, 0, "{spec}: {}", done.message());
    String::from_utf8(done.stdout).unwrap()
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

#[test]
fn a_closure_runs_as_root_on_a_kernel_of_its_own_that_has_no_network() {
    let here = fs::read_to_string("/proc/version").unwrap();
    let guest = Guest::new();
    guest
        .run(move || {
            let version = fs::read_to_string("/proc/version").unwrap();
            println!("{version} up {}", fs::read_to_string("/proc/uptime").unwrap());
            assert!(version.contains("-cloud-amd64"), "{version}");
            assert!(is_guest());
            assert!(rustix::process::geteuid().is_root());
            let devices: Vec<_> = fs::read_dir("/sys/class/net")
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            assert_eq!(devices, ["lo"]);
            // Busybox is there, and no tool that was not asked for.
            assert_eq!(run("echo", &["hello"]), "hello\n");
            Program::find("qemu-img").unwrap_err();
        })
        .unwrap();
    // Only on the host.
    assert!(!is_guest());
    assert_eq!(here, fs::read_to_string("/proc/version").unwrap());
}

#[test]
fn a_closure_that_fails_fails_the_test_with_what_it_said() {
    let error = Guest::new()
        .run(|| {
            println!("just before");
            assert_eq!(1 + 1, 3, "sums are wrong in here");
        })
        .unwrap_err();
    let GuestError::Failed { code, output } = error else {
        panic!("{error}");
    };
    assert_eq!(code, 101);
    for part in ["just before", "sums are wrong in here", "left: 2", "guest.rs:"] {
        assert!(output.contains(part), "{part:?} in {output}");
    }
}

#[test]
#[should_panic(expected = "the exact words of the guest")]
fn in_guest_panics_with_what_the_guest_said() {
    in_guest(&Guest::new(), || panic!("the exact words of the guest"));
}

#[test]
fn a_closure_that_hangs_is_killed_with_its_guest_at_the_deadline() {
    let name = "a_closure_that_hangs_is_killed_with_its_guest_at_the_deadline";
    let begun = Instant::now();
    let guest = Guest::new()
        .with_disk("left-behind", 1 << 30)
        .with_timeout(Duration::from_secs(30));
    let error = guest
        .run(|| {
            println!("about to wait for ever");
            loop {
                std::thread::park();
            }
        })
        .unwrap_err();
    let GuestError::Hung { after, output, .. } = error else {
        panic!("{error}");
    };
    assert!(
        after >= Duration::from_secs(30) && begun.elapsed() < Duration::from_secs(50),
        "{after:?}"
    );
    assert!(output.contains("about to wait for ever"), "{output}");
    assert_eq!(guests(name), BTreeSet::new());
}

/// The guests of this test.
fn guests(test: &str) -> BTreeSet<String> {
    processes(&format!("lab.test={test}"))
}

#[test]
fn a_guest_dies_with_a_test_program_that_is_killed() {
    let name = "a_guest_dies_with_a_test_program_that_is_killed";
    let victim = "and-this-is-the-victim";
    if is_guest() || std::env::args().any(|word| word == victim) {
        return in_guest(&Guest::new(), || {
            loop {
                std::thread::park();
            }
        });
    }
    let program = Program::at(std::env::current_exe().unwrap()).unwrap();
    let cancellation = Cancellation::new();
    let call = Call::new().with_cancellation(cancellation.clone());
    let spec = CommandSpec::new(program).args(["--exact", name, victim]);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| SystemRunner::new().run(&spec, &Watch::call(&call)));
        while guests(name).is_empty() {
            assert!(!run.is_finished(), "the victim boots no guest");
            std::thread::yield_now();
        }
        cancellation.cancel();
        let killed = run.join().unwrap();
        assert!(matches!(killed, Err(RunError::Cancelled { .. })), "{killed:?}");
    });
    let begun = Instant::now();
    while !guests(name).is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?} lives on",
            guests(name)
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_kernel_that_panics_is_reported_with_its_last_words() {
    let error = Guest::new()
        .run(|| {
            println!("about to crash");
            fs::write("/proc/sys/kernel/sysrq", "1").unwrap();
            fs::write("/proc/sysrq-trigger", "c").unwrap();
            loop {
                std::thread::park();
            }
        })
        .unwrap_err();
    let GuestError::Down { output, console } = error else {
        panic!("{error}");
    };
    assert!(
        console.contains("sysrq triggered crash") && console.contains("Kernel panic"),
        "{console}"
    );
    assert!(output.contains("about to crash"), "{output}");
}

#[test]
fn a_test_that_ends_itself_does_not_pass() {
    let error = Guest::new().run(|| std::process::exit(0)).unwrap_err();
    assert!(
        matches!(&error, GuestError::NotRun { test, .. } if test == "a_test_that_ends_itself_does_not_pass"),
        "{error}"
    );
}

#[test]
fn disks_are_blank_and_known_by_their_serial_numbers() {
    let guest = Guest::new()
        .with_disk("second-word", 3 << 20)
        .with_disk("first-word", 64 << 30);
    in_guest(&guest, || {
        for (serial, node, bytes) in [
            ("second-word", "vdb", 3_u64 << 20),
            ("first-word", "vdc", 64 << 30),
        ] {
            let path = disk(serial);
            assert_eq!(
                fs::canonicalize(&path).unwrap().to_str(),
                Some(&*format!("/dev/{node}"))
            );
            let sectors = fs::read_to_string(format!("/sys/block/{node}/size")).unwrap();
            assert_eq!(sectors.trim().parse(), Ok(bytes / 512));
            let device = File::options().read(true).write(true).open(&path).unwrap();
            assert!(device.metadata().unwrap().file_type().is_block_device());
            let mut sector = [1; 512];
            for offset in [0, bytes - 512] {
                device.read_exact_at(&mut sector, offset).unwrap();
                assert_eq!(sector, [0; 512]);
                device.write_all_at(&[7; 512], offset).unwrap();
            }
            device.sync_all().unwrap();
        }
    });
}

#[test]
fn dm_crypt_works_on_a_disk_of_the_guest() {
    let guest = Guest::new().with_device_mapper().with_disk("volume", 32 << 20);
    in_guest(&guest, || {
        let device = disk("volume");
        let device = device.to_str().unwrap();
        fs::write("/run/key", "0123456789abcdef").unwrap();
        let cheap = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        run(
            "cryptsetup",
            &[
                &["luksFormat", "-q", "--type", "luks2", device, "/run/key"],
                &cheap[..],
            ]
            .concat(),
        );
        run(
            "cryptsetup",
            &["open", "--key-file", "/run/key", device, "opened"],
        );
        fs::write("/dev/mapper/opened", "in clear").unwrap();
        assert!(run("cryptsetup", &["status", "opened"]).contains("aes-xts-plain64"));
        assert!(run("dmsetup", &["table", "opened"]).contains("crypt aes-xts-plain64"));
        run(
            "cryptsetup",
            &["resize", "--key-file", "/run/key", "--size", "2048", "opened"],
        );
        run("cryptsetup", &["close", "opened"]);
        assert!(!fs::exists("/dev/mapper/opened").unwrap());
        let raw = fs::read(device).unwrap();
        assert!(raw.starts_with(b"LUKS\xba\xbe"));
        assert!(!raw.windows(8).any(|window| window == b"in clear"));
    });
}

#[test]
fn a_program_is_at_its_path_with_its_libraries() {
    in_guest(&Guest::new().with_program("qemu-img"), || {
        let image = "/tmp/image.qcow2";
        run("qemu-img", &["create", "-q", "-f", "qcow2", image, "1G"]);
        assert!(run("qemu-img", &["info", image]).contains("virtual size: 1 GiB"));
    });
}

#[test]
fn what_is_not_there_is_named_before_anything_boots() {
    let missing = Guest::new().with_program("no-such-tool").run(|| ()).unwrap_err();
    assert!(
        matches!(&missing, GuestError::Tool { source, .. } if source.name == "no-such-tool"),
        "{missing}"
    );
}

#[test]
fn a_module_that_the_kernel_lacks_is_named_before_anything_boots() {
    let missing = Guest::new()
        .with_modules(["no_such_module"])
        .run(|| ())
        .unwrap_err();
    assert!(
        matches!(&missing, GuestError::NoModule { name } if name == "no_such_module"),
        "{missing}"
    );
}

#[test]
fn a_test_boots_one_guest() {
    let first = Guest::new().with_program("no-such-tool").run(|| ()).unwrap_err();
    assert!(matches!(first, GuestError::Tool { .. }), "{first}");
    let second = Guest::new().run(|| ()).unwrap_err();
    assert!(matches!(second, GuestError::Twice), "{second}");
}

#[test]
fn a_thread_that_is_no_test_boots_nothing() {
    let error = std::thread::spawn(|| Guest::new().run(|| ()).unwrap_err())
        .join()
        .unwrap();
    assert!(matches!(error, GuestError::NoTest), "{error}");
}
