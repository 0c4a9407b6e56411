//! A file system whose server is this test, and which can be told to say nothing, as a network file system does when its server dies: who
//! asks it for something then waits in the kernel.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};

/// Requests and answers of FUSE 7.31: `linux/fuse.h`.
const INIT: u32 = 26;
const GETATTR: u32 = 3;
const STATFS: u32 = 17;
const LOOKUP: u32 = 1;
const MKDIR: u32 = 9;
/// Requests that want no answer: FORGET, INTERRUPT, BATCH_FORGET.
const UNANSWERED: [u32; 3] = [2, 36, 42];

const ENOENT: i32 = -2;
const EROFS: i32 = -30;
const ENOSYS: i32 = -38;

/// Whom the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Voice {
    Everybody,
    /// Whoever asks whether it is there, and nobody after that.
    OneMore,
    Nobody,
}

/// An empty directory that is the root of the file system. Unmounted when dropped.
pub(crate) struct Fuse {
    pub(crate) point: PathBuf,
    voice: Arc<Mutex<Voice>>,
    gone: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Fuse {
    pub(crate) fn new(point: PathBuf) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "mounting needs root: run the tests as root"
        );
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.unwrap_or_else(|e| panic!("/dev/fuse: {e}: the kernel needs its module fuse"));
        fs::create_dir(&point).unwrap();
        let mut mount = CommandSpec::new(Program::find("mount").unwrap());
        let passed = mount.pass(device.as_fd());
        let number = passed.file_name().unwrap().to_str().unwrap();
        let options = format!("fd={number},rootmode=40000,user_id=0,group_id=0");
        let words = ["-i", "-t", "fuse", "-o", &options, "test-server"];
        let mount = mount.args(words).arg(&point);
        let done = SystemRunner::new().run(&mount, &Watch::nobody()).unwrap();
        assert_eq!(done.code, 0, "{}", done.message());
        let voice = Arc::new(Mutex::new(Voice::Everybody));
        let gone = Arc::new(AtomicBool::new(false));
        let (heard, end) = (voice.clone(), gone.clone());
        let server = std::thread::spawn(move || serve(device, &heard, &end));
        Self {
            point,
            voice,
            gone,
            server: Some(server),
        }
    }

    /// From now on nobody is answered.
    pub(crate) fn hush(&self) {
        *self.voice.lock().unwrap() = Voice::Nobody;
    }

    /// Everybody is answered again.
    pub(crate) fn speak(&self) {
        *self.voice.lock().unwrap() = Voice::Everybody;
    }

    /// Whoever asks next whether it is there is answered, and nobody after that.
    pub(crate) fn hush_after_one(&self) {
        *self.voice.lock().unwrap() = Voice::OneMore;
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        if let Some(server) = self.server.take() {
            // With its end of the connection closed, nobody waits any more.
            server.join().unwrap();
        }
        unmount(&self.point);
    }
}

fn unmount(point: &Path) {
    let umount = CommandSpec::new(Program::find("umount").unwrap());
    let umount = umount.arg("--lazy").arg(point);
    SystemRunner::new().run(&umount, &Watch::nobody()).unwrap();
}

fn serve(mut device: File, voice: &Mutex<Voice>, gone: &AtomicBool) {
    let mut request = vec![0; 1 << 20];
    let tick = Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    while !gone.load(Ordering::SeqCst) {
        // A silent server leaves the requests where they are.
        let mut ready = [PollFd::new(&device, PollFlags::IN)];
        let watched = if *voice.lock().unwrap() == Voice::Nobody {
            &mut ready[..0]
        } else {
            &mut ready[..]
        };
        if poll(watched, Some(&tick)).unwrap() == 0 {
            continue;
        }
        let mut voice = voice.lock().unwrap();
        if *voice == Voice::Nobody {
            continue;
        }
        // It is gone when somebody unmounted it.
        let Ok(length) = device.read(&mut request) else {
            return;
        };
        if let Some(reply) = answer(&request[..length]) {
            // Who asked may have been killed.
            let _ = device.write(&reply);
            if *voice == Voice::OneMore && request[4..8] == STATFS.to_ne_bytes() {
                *voice = Voice::Nobody;
            }
        }
    }
}

fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let number = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
    let body = match number(4) {
        INIT => Ok(numbers(&[7, 31, 0, 0, 0, 4096, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        GETATTR => Ok(attributes()),
        STATFS => Ok(numbers(&[
            100, 0, 50, 0, 50, 0, 10, 0, 10, 0, 4096, 255, 4096, 0, 0, 0, 0, 0, 0, 0,
        ])),
        LOOKUP => Err(ENOENT),
        MKDIR => Err(EROFS),
        none if UNANSWERED.contains(&none) => return None,
        _ => Err(ENOSYS),
    };
    let (error, body) = body.map_or_else(|error| (error, Vec::new()), |body| (0, body));
    let length = u32::try_from(16 + body.len()).unwrap();
    let mut reply = length.to_ne_bytes().to_vec();
    reply.extend(error.to_ne_bytes());
    reply.extend(&request[8..16]);
    reply.extend(body);
    Some(reply)
}

fn numbers(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// Those of a directory of root, which nobody may remember.
fn attributes() -> Vec<u8> {
    let mut all = vec![0; 16];
    all.extend(1u64.to_ne_bytes());
    all.extend([0; 40 + 12]);
    all.extend(numbers(&[0o040_755, 2, 0, 0, 0, 4096, 0]));
    all
}
