use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use strongroom_exec::{CommandSpec, Program, RunError, Runner, SystemRunner, Watch};
use strongroom_lab::find_in;
use strongroom_libvirt::{EncryptedMemoryFile, MemoryFileError};
use strongroom_secret::Passphrase;
use strongroom_types::{ByteSize, Call, DiskFormat};

use crate::place::{create, traces, until};

fn open(file: &Path, key: &Passphrase) -> Result<EncryptedMemoryFile, MemoryFileError> {
    let runner: Arc<dyn Runner> = Arc::new(SystemRunner::new());
    EncryptedMemoryFile::open(&runner, &Call::new(), file, key)
}

fn made(directory: &Path, name: &str) -> (PathBuf, Passphrase) {
    let (file, key) = (directory.join(name), Passphrase::generate().unwrap());
    create(&file, DiskFormat::Raw, &key, 16 << 20, &[]);
    (file, key)
}

/// Where the kernel says what a loop device is made of, while it is.
fn backing(device: &Path) -> PathBuf {
    Path::new("/sys/block")
        .join(device.file_name().unwrap())
        .join("loop/backing_file")
}

#[test]
fn what_is_written_to_the_device_is_ciphertext_in_the_file_and_there_again_next_time() {
    use std::os::unix::fs::FileExt;

    let directory = tempfile::tempdir().unwrap();
    // A name that options, mounts and shells could take for something else.
    let (file, key) = made(directory.path(), "a, b=\"$(c) 'd\\e");
    let memory = open(&file, &key).unwrap();
    let device = File::options().write(true).open(memory.device()).unwrap();
    device.write_all_at(b"MEMORY-CANARY", 5 << 20).unwrap();
    memory.sync().unwrap();
    assert_eq!(find_in([memory.device()], "MEMORY-CANARY").unwrap().len(), 1);
    assert_eq!(find_in([&file], "MEMORY-CANARY").unwrap(), []);
    let backing = backing(memory.device());
    assert!(backing.exists());
    drop(device);
    drop(memory);
    until("the end of all traces", || {
        !backing.exists() && traces(&file).is_empty()
    });

    let memory = open(&file, &key).unwrap();
    let hits = find_in([memory.device()], "MEMORY-CANARY").unwrap();
    assert_eq!(hits[0].offset, 5 << 20);
    assert!(!traces(&file).is_empty(), "the search finds what is there");
}

#[test]
fn what_is_no_luks1_file_or_has_another_key_or_is_in_use_does_not_open_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (file, key) = made(directory.path(), "memory");
    let wrong = open(&file, &Passphrase::generate().unwrap()).unwrap_err();
    assert!(matches!(wrong, MemoryFileError::WrongKey(_)), "{wrong:?}");
    assert_eq!(traces(&file), [""; 0]);

    let first = open(&file, &key).unwrap();
    let second = open(&file, &key).unwrap_err();
    assert!(matches!(second, MemoryFileError::Busy(_)), "{second:?}");
    first.sync().unwrap();
    assert!(Path::new(&first.device()).exists());
    drop(first);

    let plain = directory.path().join("plain");
    for content in [&b""[..], b"LUKS", &[0; 4096], b"LUKS\xba\xbe\x00\x02 and more"] {
        fs::write(&plain, content).unwrap();
        let error = open(&plain, &key).unwrap_err();
        assert!(matches!(error, MemoryFileError::NotLuks(_)), "{error:?}");
    }
    assert_eq!(traces(&plain), [""; 0]);
    let directory_itself = open(directory.path(), &key).unwrap_err();
    assert!(
        matches!(directory_itself, MemoryFileError::NotAFile(_)),
        "{directory_itself:?}"
    );
    let missing = open(&directory.path().join("missing"), &key).unwrap_err();
    assert!(matches!(missing, MemoryFileError::Io { .. }), "{missing:?}");
}

#[test]
fn the_room_is_that_of_the_memory_and_more() {
    let room = |mib: u64| EncryptedMemoryFile::room_for(ByteSize::mib(mib)).get() >> 20;
    assert_eq!((room(1), room(160), room(512), room(8192)), (65, 224, 576, 9216));
    assert_eq!(EncryptedMemoryFile::room_for(ByteSize::bytes(1)).get(), 65 << 20);
}

/// In the process that is killed.
fn hold(directory: &str) {
    let (file, key) = made(Path::new(directory), "memory");
    let memory = open(&file, &key).unwrap();
    println!("held {} {}", std::process::id(), memory.device().display());
    loop {
        std::thread::park();
    }
}

#[test]
fn nothing_is_left_of_a_memory_file_when_its_owner_is_killed() {
    const NAME: &str = "memory_file::nothing_is_left_of_a_memory_file_when_its_owner_is_killed";
    if let Some(directory) = std::env::args().find_map(|word| Some(word.strip_prefix("hold:")?.to_owned())) {
        hold(&directory);
    }
    let directory = tempfile::tempdir().unwrap();
    let this = std::env::current_exe().unwrap();
    let owner = CommandSpec::new(Program::at(this).unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .arg(format!("hold:{}", directory.path().display()));
    let (said, lines) = std::sync::mpsc::channel();
    let said = Mutex::new(said);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let send = |line: &[u8]| {
                let _ = said
                    .lock()
                    .unwrap()
                    .send(String::from_utf8_lossy(line).into_owned());
            };
            SystemRunner::new().run(&owner, &Watch::nobody().with_lines(&send))
        });
        let held = loop {
            let line = lines.recv_timeout(Duration::from_secs(120)).unwrap();
            if let Some((_, held)) = line.split_once("held ") {
                break held.to_owned();
            }
        };
        let (pid, device) = held.trim().split_once(' ').unwrap();
        let file = directory.path().join("memory");
        let device = backing(Path::new(device));
        assert_eq!(
            fs::read_to_string(&device).unwrap().trim(),
            file.to_str().unwrap()
        );
        kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        let ended = running.join().unwrap();
        assert!(
            matches!(ended, Err(RunError::Signal { signal: 9, .. })),
            "{ended:?}"
        );
        until("the end of all traces", || {
            !device.exists() && traces(&file).is_empty()
        });
    });
}
