use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock, flock};
use rustix::io::Errno;
use strongroom_exec::CommandSpec;
use strongroom_types::{Call, EncryptionFormat};

use crate::disk::{Disk, GLANCE, PAUSE, Sharing};
use crate::{Cryptsetup, CryptsetupError, Target};

/// How long a claim waits for another one. udev and its like look at a new device for some milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// What nobody else claims as long as this lives: between the look at a device and the write that it allows, no other
/// process that heeds these locks comes in.
///
/// They are those of `flock`. On block devices udev and partitioning tools heed them ("Locking Block Device Access" of
/// systemd); on regular files, cryptsetup itself does where it handles LUKS2. The kernel drops them with the process.
#[derive(Debug)]
pub(crate) struct Claim {
    locked: Vec<File>,
    instead_of_the_tools: bool,
}

impl Cryptsetup {
    /// The same tool for one operation, during which the target is nobody else's.
    ///
    /// # Errors
    /// [`CryptsetupError::Busy`] when somebody else claims it or QEMU has it open, and as [`Disk::open`].
    pub(crate) fn claiming(
        &self,
        call: &Call,
        target: &Target,
        paths: &[&Path],
    ) -> Result<Self, CryptsetupError> {
        let mut locked = Vec::new();
        let mut disks: Vec<Disk> = Vec::new();
        let mut instead_of_the_tools = false;
        for path in paths {
            let disk = match Disk::open(path, Sharing::Anybody) {
                // The file of a detached header that is still to be made, which is a claim itself.
                Err(CryptsetupError::DeviceMissing { .. }) if Some(*path) == target.detached_header() => {
                    continue;
                }
                disk => disk?,
            };
            // One place twice is refused by whoever looks at it; to lock it twice would be to wait for ourselves.
            if !disks.iter().any(|other| other.is_same_as(&disk)) {
                locked.push(lock(call, &disk)?);
            }
            instead_of_the_tools |= *path == target.header_device()
                && target.format() == EncryptionFormat::Luks2
                && !disk.is_block();
            disks.push(disk);
        }
        let mut alone = self.clone();
        alone.claim = Some(Arc::new(Claim {
            locked,
            instead_of_the_tools,
        }));
        Ok(alone)
    }
}

impl Claim {
    /// The command as it is to run under this claim.
    ///
    /// The tool inherits the locks: should this process be killed, they last until the tool has ended. It must not ask
    /// for the very lock that we hold, which it would wait for for ever.
    pub(crate) fn apply<'k>(&'k self, mut spec: CommandSpec<'k>) -> CommandSpec<'k> {
        for file in &self.locked {
            spec.pass(file.as_fd());
        }
        if self.instead_of_the_tools {
            spec.arg("--disable-locks")
        } else {
            spec
        }
    }
}

fn lock(call: &Call, disk: &Disk) -> Result<File, CryptsetupError> {
    let path = disk.path();
    // Locks that exclude others are for files that may be written: always with QEMU's kind, else on network file systems.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default())
        .open(path)
        .map_err(|e| CryptsetupError::io("open", path, e))?;
    let patiently = |patience: Duration, attempt: &dyn Fn() -> Result<(), Errno>| {
        let until = Instant::now() + patience;
        loop {
            match attempt() {
                Ok(()) => return Ok(()),
                Err(Errno::WOULDBLOCK | Errno::ACCESS) if Instant::now() < until => {
                    call.check().map_err(|source| CryptsetupError::Interrupted {
                        action: "waiting for the device",
                        source,
                    })?;
                    thread::sleep(PAUSE);
                }
                Err(Errno::WOULDBLOCK | Errno::ACCESS) => {
                    return Err(CryptsetupError::Busy {
                        path: path.to_owned(),
                    });
                }
                Err(e) => return Err(CryptsetupError::io("lock", path, e)),
            }
        }
    };
    // QEMU holds locks of another kind on parts of a file or device for as long as it has it open. They are asked for
    // before ours is taken: on a network file system the two kinds are one.
    let exclusive = FlockOperation::NonBlockingLockExclusive;
    // Others like us hold one while they look.
    patiently(GLANCE, &|| match fcntl_lock(&file, exclusive) {
        // A file system without such locks has none that QEMU could hold.
        Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        outcome => outcome,
    })?;
    fcntl_lock(&file, FlockOperation::Unlock).map_err(|e| CryptsetupError::io("unlock", path, e))?;
    patiently(PATIENCE, &|| flock(&file, exclusive))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_exec::{Program, SystemRunner};

    #[test]
    fn the_tool_inherits_the_lock_and_does_not_wait_for_it() {
        let program = Program::at("/bin/true").unwrap();
        let tool = Cryptsetup::new(program.clone(), Arc::new(SystemRunner::new()));
        let file = tempfile::NamedTempFile::new().unwrap();
        for (format, words) in [
            (EncryptionFormat::Luks1, &["x"][..]),
            (EncryptionFormat::Luks2, &["x", "--disable-locks"][..]),
        ] {
            let target = Target::new(format, file.path()).unwrap();
            let alone = tool
                .claiming(&Call::new(), &target, &[target.device(), target.device()])
                .unwrap();
            let claim = alone.claim.unwrap();
            let spec = claim.apply(CommandSpec::new(program.clone()).arg("x"));
            assert_eq!(spec.arguments().collect::<Vec<_>>(), words);
            assert_eq!(spec.descriptors().len(), 1);
        }
        assert!(tool.claim.is_none());
    }

    #[test]
    fn the_header_of_a_payload_elsewhere_is_locked_by_the_tool_until_it_is_there() {
        let program = Program::at("/bin/true").unwrap();
        let tool = Cryptsetup::new(program.clone(), Arc::new(SystemRunner::new()));
        let directory = tempfile::tempdir().unwrap();
        let payload = directory.path().join("payload");
        File::create_new(&payload).unwrap();
        let target = Target::new(EncryptionFormat::Luks2, &payload)
            .and_then(|target| target.with_header(directory.path().join("header")))
            .unwrap();
        let places = [target.device(), target.header_device()];
        let words = || {
            let alone = tool.claiming(&Call::new(), &target, &places).unwrap();
            let claim = alone.claim.unwrap();
            let spec = claim.apply(CommandSpec::new(program.clone()));
            (spec.arguments().count(), spec.descriptors().len())
        };
        assert_eq!(words(), (0, 1));
        File::create_new(target.header_device()).unwrap();
        assert_eq!(words(), (1, 2));
    }
}
