use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use strongroom_exec::{CommandSpec, Completed, RunError, Runner, SystemRunner, Watch};

use crate::cache::Cache;
use crate::guest::program;
use crate::kernel::Kernel;
use crate::verdict::{Heard, judge};
use crate::{Guest, GuestError};

/// How the kernel behaves: no word but of trouble; trouble ends the guest at once. The rest saves time under emulation.
const KERNEL: &str = "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic rdinit=/init mitigations=off nowatchdog \
                      random.trust_cpu=on tsc=reliable no_timer_check";

/// The serial number of the disk that the test program is on.
const TEST: &str = "lab-test";

/// Boots a guest that runs this test of this program, and says how it went.
pub(crate) fn boot(guest: &Guest, test: &str) -> Result<(), GuestError> {
    let path =
        std::env::current_exe().map_err(|e| GuestError::io("find", Path::new("the test program"), e))?;
    let kernel = Kernel::newest()?;
    let root = Cache::of(&path).archive(&guest.root(&kernel, &path)?)?;
    let program_file = open(&path)?;
    let bytes = program_file
        .metadata()
        .map_err(|e| GuestError::io("read", &path, e))?
        .len();
    let disks = guest.disks()?;
    let blank: Vec<File> = disks
        .iter()
        .map(|(_, bytes)| {
            let file = nameless()?;
            file.set_len(*bytes)
                .map_err(|e| GuestError::io("size", Path::new("a disk of a guest"), e))?;
            Ok(file)
        })
        .collect::<Result<_, GuestError>>()?;
    let (console, output, verdict) = (nameless()?, nameless()?, nameless()?);

    // Should this process be killed, the guest goes with it.
    let mut qemu = CommandSpec::new(program("setpriv", "util-linux")?).args(["--pdeathsig", "KILL"]);
    qemu.push(program("qemu-system-x86_64", "qemu-system-x86")?.path());
    let mut qemu = qemu
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-machine", "pc,accel=tcg", "-cpu", "max", "-smp", "1", "-m"])
        .arg(guest.memory().to_string())
        .arg("-kernel")
        .arg(&kernel.image)
        .timeout(guest.timeout());
    let initrd = qemu.pass(root.as_fd());
    qemu = qemu.arg("-initrd").arg(initrd).arg("-append").arg(format!(
        "{KERNEL} {}{test} lab.bytes={bytes}",
        crate::inside::MARK
    ));
    for (name, file) in [("console", &console), ("output", &output), ("verdict", &verdict)] {
        let path = qemu.pass(file.as_fd());
        qemu = qemu
            .arg("-chardev")
            .arg(format!("file,id={name},path={}", path.display()))
            .arg("-serial")
            .arg(format!("chardev:{name}"));
    }
    qemu = disk(qemu, &program_file, TEST, "readonly=on");
    for ((serial, _), file) in disks.iter().zip(&blank) {
        qemu = disk(qemu, file, serial, "cache=unsafe,discard=unmap");
    }

    let ran = SystemRunner::new().run(&qemu, &Watch::nobody());
    let heard = Heard {
        verdict: read(verdict)?,
        output: read(output)?,
        console: read(console)?,
    };
    match ran {
        Ok(Completed { code: 0, .. }) => judge(test, heard),
        Ok(done) => Err(GuestError::Qemu {
            code: done.code,
            message: done.message(),
        }),
        Err(RunError::Deadline { after, .. }) => Err(heard.hung(after)),
        Err(source) => Err(GuestError::Run { source }),
    }
}

/// Adds a disk. The files have no names, so the guest gets them by descriptor.
fn disk<'f>(mut qemu: CommandSpec<'f>, file: &'f File, serial: &str, options: &str) -> CommandSpec<'f> {
    let path = qemu.pass(file.as_fd());
    qemu.arg("-drive")
        .arg(format!(
            "file={},format=raw,if=none,id={serial},{options}",
            path.display()
        ))
        .arg("-device")
        .arg(format!("virtio-blk-pci,drive={serial},serial={serial}"))
}

fn open(path: &Path) -> Result<File, GuestError> {
    File::open(path).map_err(|source| GuestError::io("open", path, source))
}

/// A file that nobody has to remove.
fn nameless() -> Result<File, GuestError> {
    tempfile::tempfile().map_err(|source| GuestError::io("make a file in", &std::env::temp_dir(), source))
}

fn read(mut file: File) -> Result<String, GuestError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(|source| GuestError::io("read", Path::new("what a guest said"), source))?;
    Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
}
