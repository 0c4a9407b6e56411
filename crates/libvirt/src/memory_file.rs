use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, MemfdFlags, flock, memfd_create};
use serde_json::{Value, json};
use strongroom_exec::{CommandSpec, Completed, RunError, Runner, Watch};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::{ByteSize, Call, Cancellation};

use crate::MemoryFileError;
use crate::loop_device::{LoopDevice, tool};

/// How long the daemon may take until the file can be used. Costly key derivation takes seconds.
const TO_OPEN: Duration = Duration::from_secs(120);

/// How often it is looked whether it can.
const INTERVAL: Duration = Duration::from_millis(10);

/// What each LUKS header begins with (LUKS1 On-Disk Format Specification 1.2.3, table 1).
const LUKS: &[u8; 6] = b"LUKS\xba\xbe";

/// Says the number of the process, and becomes the daemon.
const SCRIPT: &str = r#"echo "$$" >"$0" && exec "$@""#;

/// A LUKS file for the memory of a guest, open: libvirt writes and reads a block device, and what reaches the file is ciphertext.
///
/// `qemu-storage-daemon` decrypts it (the key goes to it by descriptor), gives it to the kernel as a file in a mount namespace of its
/// own, and a loop device makes a block device of that. libvirt wants one: it writes the memory in pieces of any length, and opens the path again.
///
/// All of it ends with this value, and with the process, also when that is killed: the daemon is killed when its parent ends, the mount goes
/// with its namespace, and the kernel takes the loop device back when the last who has it open lets go. Until then **everybody who may
/// read block devices, as root may, reads the memory in clear from the device.**
#[derive(Debug)]
pub struct EncryptedMemoryFile {
    image: PathBuf,
    // Before the daemon that it reads from.
    device: LoopDevice,
    _daemon: Daemon,
}

impl EncryptedMemoryFile {
    /// How long the LUKS file has to be, without its header, for a guest with this much memory: the memory, an eighth more for the
    /// state of its devices and the headers of pages, and at least 64 MiB more.
    ///
    /// A guest that writes to its memory while a [live snapshot](crate::Machine::snapshot_with_memory) is taken needs more: pages that change are written
    /// again. When the room does not suffice, the snapshot fails and the guest goes on.
    #[must_use]
    pub fn room_for(memory: ByteSize) -> ByteSize {
        let bytes = memory.get();
        let more = (bytes / 8).max(64 << 20);
        ByteSize::bytes(bytes.saturating_add(more).next_multiple_of(1 << 20))
    }

    /// Opens a raw LUKS1 image in a file that is there already, of at least [`room_for`](Self::room_for) the guest's memory. Needs root.
    ///
    /// A file that another process of this machine has open is refused; what other machines do with it is not seen.
    ///
    /// # Errors
    /// [`MemoryFileError`]. Then nothing of it is left.
    pub fn open(
        runner: &Arc<dyn Runner>,
        call: &Call,
        image: &Path,
        key: &Passphrase,
    ) -> Result<Self, MemoryFileError> {
        let image = fs::canonicalize(image).map_err(MemoryFileError::io("find", image))?;
        let about = fs::metadata(&image).map_err(MemoryFileError::io("look at", &image))?;
        if !about.is_file() {
            return Err(MemoryFileError::NotAFile(image));
        }
        header(&image)?;
        let key = SecretFile::new(key)?;
        let _until_it_is_open = one_at_a_time(call)?;
        if LoopDevice::is_there(&image)? {
            return Err(MemoryFileError::Busy(image));
        }
        let daemon = Daemon::start(runner, call, image.clone(), key)?;
        let device = LoopDevice::attach(runner.as_ref(), call, daemon.pid, &image)?;
        let mut first = [0; 6];
        device
            .file()
            .read_exact_at(&mut first, 0)
            .map_err(MemoryFileError::io("read", device.path()))?;
        if first == *LUKS || device.length()? >= about.len() {
            return Err(MemoryFileError::InClear(device.path().to_owned()));
        }
        Ok(Self {
            image,
            device,
            _daemon: daemon,
        })
    }

    /// The block device that libvirt is told.
    #[must_use]
    pub fn device(&self) -> &Path {
        self.device.path()
    }

    /// The LUKS file.
    #[must_use]
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Waits until all that was written is in the file and the file on its storage.
    ///
    /// # Errors
    /// [`MemoryFileError::Io`], and [`MemoryFileError::NotLuks`] when the file's header is not there any more.
    pub fn sync(&self) -> Result<(), MemoryFileError> {
        self.device
            .file()
            .sync_all()
            .map_err(MemoryFileError::io("write out", &self.image))?;
        header(&self.image)
    }
}

/// QEMU's own lock lets two daemons write to one file. So whoever opens one looks for others, and nobody else does meanwhile on this machine.
fn one_at_a_time(call: &Call) -> Result<File, MemoryFileError> {
    let path = Path::new("/dev/fuse");
    let file = File::open(path).map_err(MemoryFileError::io("open", path))?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(MemoryFileError::io("lock", path)(error.into())),
        }
        call.check().map_err(MemoryFileError::Interrupted)?;
        sleep(INTERVAL);
    }
}

/// The file begins as a LUKS1 header does. QEMU says the rest.
fn header(image: &Path) -> Result<(), MemoryFileError> {
    let failed = MemoryFileError::io("read", image);
    let mut begin = [0; 8];
    let read = File::open(image).and_then(|file| file.read_exact_at(&mut begin, 0));
    match read {
        Ok(()) if begin[..6] == *LUKS && begin[6..] == [0, 1] => Ok(()),
        Ok(()) => Err(MemoryFileError::NotLuks(image.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(MemoryFileError::NotLuks(image.to_owned()))
        }
        Err(error) => Err(failed(error)),
    }
}

/// The daemon, which ends with this value.
#[derive(Debug)]
struct Daemon {
    pid: u32,
    end: Cancellation,
    waiting: Option<JoinHandle<Result<Completed, RunError>>>,
}

impl Daemon {
    fn start(
        runner: &Arc<dyn Runner>,
        call: &Call,
        image: PathBuf,
        key: SecretFile,
    ) -> Result<Self, MemoryFileError> {
        let failed = || MemoryFileError::io("start a daemon for", &image);
        let number = memfd_create("pid", MemfdFlags::CLOEXEC)
            .map(File::from)
            .map_err(|error| failed()(error.into()))?;
        let said = number.try_clone().map_err(failed())?;
        let command = command()?;
        let daemon = tool("qemu-storage-daemon", "qemu-utils")?;
        let options = options(&image)?;
        let end = Cancellation::new();
        let (own, life) = (Arc::clone(runner), Call::new().with_cancellation(end.clone()));
        let waiting = std::thread::Builder::new()
            .name("memory file".into())
            .spawn(move || {
                let mut command = command;
                let number = command.pass(number.as_fd());
                command.push(number);
                command.push(daemon.program().path());
                let key = key.path_in_child(|descriptor| command.pass(descriptor));
                let secret = json!({"qom-type": "secret", "id": "key", "file": key.to_string_lossy()});
                command = command
                    .args(["--object".to_owned(), secret.to_string()])
                    .args(options);
                own.run(&command, &Watch::call(&life))
            })
            .map_err(failed())?;
        let mut daemon = Self {
            pid: 0,
            end,
            waiting: Some(waiting),
        };
        daemon.until_mounted(call, &image, &said)?;
        Ok(daemon)
    }

    fn until_mounted(&mut self, call: &Call, image: &Path, said: &File) -> Result<(), MemoryFileError> {
        let begun = Instant::now();
        loop {
            call.check().map_err(MemoryFileError::Interrupted)?;
            if self.waiting.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(self.why(image));
            }
            if let Some(pid) = spoken(said)
                && is_mounted(pid, image)
            {
                self.pid = pid;
                return Ok(());
            }
            if begun.elapsed() > TO_OPEN {
                return Err(MemoryFileError::Late(image.to_owned()));
            }
            sleep(INTERVAL);
        }
    }

    /// Why it ended.
    fn why(&mut self, image: &Path) -> MemoryFileError {
        let ended = self.waiting.take().map(JoinHandle::join);
        match ended {
            Some(Ok(Ok(done))) => MemoryFileError::daemon(image, &done),
            Some(Ok(Err(source))) => MemoryFileError::Run(source),
            _ => MemoryFileError::Late(image.to_owned()),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(waiting) = self.waiting.take() {
            let _ended_by_us = waiting.join();
        }
    }
}

/// What the daemon is started by: it is killed when this process ends, and has its mounts to itself. A place that is unmounted on the host
/// meanwhile is unmounted there too.
fn command() -> Result<CommandSpec<'static>, MemoryFileError> {
    let path = |name, package| tool(name, package).map(|tool| tool.program().path().to_owned());
    Ok(tool("setpriv", "util-linux")?
        .args(["--pdeathsig", "KILL"])
        .arg(path("unshare", "util-linux")?)
        .args(["--mount", "--propagation", "slave"])
        .arg(path("sh", "dash")?)
        .args(["-c", SCRIPT]))
}

/// The image is given back in clear at its own path, which only the daemon's namespace sees.
fn options(image: &Path) -> Result<[String; 6], MemoryFileError> {
    let path = image
        .to_str()
        .ok_or_else(|| MemoryFileError::NotUtf8(image.to_owned()))?;
    let file = json!({"driver": "file", "node-name": "file", "filename": path});
    let luks = json!({"driver": "luks", "node-name": "luks", "file": "file", "key-secret": "key"});
    let fuse =
        json!({"type": "fuse", "id": "fuse", "node-name": "luks", "mountpoint": path, "writable": true});
    let text = |value: &Value| value.to_string();
    Ok([
        "--blockdev".to_owned(),
        text(&file),
        "--blockdev".to_owned(),
        text(&luks),
        "--export".to_owned(),
        text(&fuse),
    ])
}

/// The number that the daemon's process has said, when the line is whole.
fn spoken(said: &File) -> Option<u32> {
    let mut text = [0; 16];
    let count = said.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(text.get(..count)?)
        .ok()?
        .strip_suffix('\n')?
        .parse()
        .ok()
}

/// Whether this process sees a FUSE file at that path.
fn is_mounted(pid: u32, image: &Path) -> bool {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap_or_default();
    let wanted = escaped(&image.to_string_lossy());
    mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(wanted.as_str()) && words.next() == Some("fuse")
    })
}

/// As proc(5) writes paths.
fn escaped(path: &str) -> String {
    path.chars()
        .map(|c| match c {
            ' ' => "\\040".to_owned(),
            '\t' => "\\011".to_owned(),
            '\n' => "\\012".to_owned(),
            '\\' => "\\134".to_owned(),
            other => other.to_string(),
        })
        .collect()
}
