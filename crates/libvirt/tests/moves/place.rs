//! One or two hosts, encrypted disks on them, and guests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_exec::{CommandSpec, Completed, Program, Runner, SystemRunner, Watch};
use strongroom_lab::{Console, GuestImage, Hypervisor, Hypervisors};
use strongroom_libvirt::{
    Accelerator, Boot, Connection, Domain, DomainDisk, EncryptedMemoryFile, Image, Machine, SecretName,
    Serial, Source,
};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::{ByteSize, Call, DiskFormat};

pub(crate) const MEMORY: ByteSize = ByteSize::mib(160);

/// How long anything may take that takes no time on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A host and this crate's connection to it.
pub(crate) struct Host<'l> {
    pub(crate) lab: &'l Hypervisor,
    pub(crate) connection: Connection,
}

/// An encrypted disk that was made, its key, and how libvirt knows the key.
pub(crate) struct Volume {
    pub(crate) image: Image,
    pub(crate) secret: SecretName,
    pub(crate) key: Passphrase,
    /// Where this machine finds the file.
    pub(crate) file: PathBuf,
}

impl<'l> Host<'l> {
    pub(crate) fn new(lab: &'l Hypervisor) -> Self {
        let runner = Arc::new(SystemRunner::new());
        let connection = Connection::find(runner, lab.uri().parse().unwrap()).unwrap();
        Self { lab, connection }
    }

    pub(crate) fn both(lab: &'l Hypervisors) -> (Self, Self) {
        (Self::new(lab.first()), Self::new(lab.second()))
    }

    /// A disk of 64 MiB in a file of the host's own, or of both hosts.
    pub(crate) fn volume(&self, name: &str, format: DiskFormat) -> Volume {
        self.volume_in(self.lab.local(), name, format)
    }

    pub(crate) fn volume_in(&self, directory: &Path, name: &str, format: DiskFormat) -> Volume {
        let inside = directory.join(name);
        let (file, key) = (self.lab.outside(&inside), Passphrase::generate().unwrap());
        create(&file, format, &key, 64 << 20, &[]);
        Volume::new(Source::File(inside), format, key, file)
    }

    /// An encrypted qcow2 on this volume.
    pub(crate) fn overlay(&self, name: &str, base: &Volume) -> Volume {
        let inside = self.lab.local().join(name);
        let (file, key) = (self.lab.outside(&inside), Passphrase::generate().unwrap());
        let below = match base.image.format() {
            DiskFormat::Qcow2 => "qcow2",
            DiskFormat::Raw => "luks",
        };
        let path = base.image.source().path().to_str().unwrap();
        create(
            &file,
            DiskFormat::Qcow2,
            &key,
            64 << 20,
            &["-u", "-F", below, "-b", path],
        );
        Volume::new(Source::File(inside), DiskFormat::Qcow2, key, file)
    }

    pub(crate) fn load(&self, volumes: &[&Volume]) {
        for volume in volumes {
            self.connection
                .load_secret(&Call::new(), &volume.secret, &volume.key)
                .unwrap();
        }
    }

    /// None of our keys is in libvirt any more.
    pub(crate) fn unload_all(&self) {
        self.connection.reconcile_secrets(&Call::new(), &[]).unwrap();
        assert_eq!(self.connection.secrets(&Call::new()).unwrap(), []);
    }

    pub(crate) fn machine(&self, name: &str) -> Machine<'_> {
        self.connection.machine(&name.parse().unwrap())
    }

    /// A guest that answers on its console.
    pub(crate) fn start(&self, name: &str, disks: &[DomainDisk]) -> Console {
        let image = GuestImage::ready().unwrap();
        let boot = Boot::Kernel {
            kernel: image.kernel,
            initramfs: Some(image.initramfs),
            command_line: image.cmdline,
        };
        let console = self.lab.local().join(format!("{name}.console"));
        let domain = Domain::new(&name.parse().unwrap(), Accelerator::Emulation, MEMORY, 1, boot)
            .with_disks(disks.to_vec())
            .with_serial(Serial::Socket(console));
        if let Err(error) = self.connection.start(&Call::new(), &domain, false) {
            panic!("{error}\n{}", self.lab.logs());
        }
        self.console(name)
    }

    pub(crate) fn console(&self, name: &str) -> Console {
        let inside = self.lab.local().join(format!("{name}.console"));
        Console::connect(&self.lab.outside(&inside)).unwrap()
    }

    /// A LUKS file with room for the guest's memory.
    pub(crate) fn memory_file(&self, name: &str) -> (PathBuf, Passphrase) {
        let (file, key) = (
            self.lab.outside(&self.lab.local().join(name)),
            Passphrase::generate().unwrap(),
        );
        create(
            &file,
            DiskFormat::Raw,
            &key,
            EncryptedMemoryFile::room_for(MEMORY).get(),
            &[],
        );
        (file, key)
    }

    /// The names of all machines, running or not.
    pub(crate) fn machines(&self) -> String {
        let list = self.lab.virsh(["list", "--all", "--name"]).unwrap();
        assert_eq!(list.code, 0, "{}", list.message());
        String::from_utf8(list.stdout).unwrap().trim().to_owned()
    }
}

impl Volume {
    pub(crate) fn new(source: Source, format: DiskFormat, key: Passphrase, file: PathBuf) -> Self {
        let name = file.file_name().unwrap().to_str().unwrap();
        let secret = SecretName::new(&name.parse().unwrap(), &"pp-1".parse().unwrap());
        Self {
            image: Image::encrypted(source, format, secret.uuid()),
            secret,
            key,
            file,
        }
    }

    pub(crate) fn disk(&self, target: &str) -> DomainDisk {
        DomainDisk::new(target.parse().unwrap(), self.image.clone())
    }
}

/// An encrypted image with a cheap key derivation.
pub(crate) fn create(file: &Path, format: DiskFormat, key: &Passphrase, size: u64, options_too: &[&str]) {
    let secret = SecretFile::new(key).unwrap();
    let mut create = CommandSpec::new(Program::find("qemu-img").expect("qemu-utils")).args(["create", "-q"]);
    let path = secret.path_in_child(|descriptor| create.pass(descriptor));
    let (word, options) = match format {
        DiskFormat::Qcow2 => (
            "qcow2",
            "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1",
        ),
        DiskFormat::Raw => ("luks", "key-secret=s,iter-time=1"),
    };
    create = create
        .args([
            "--object".to_owned(),
            format!("secret,id=s,file={}", path.display()),
        ])
        .args(["-f", word, "-o", options])
        .args(options_too.iter().copied())
        .arg(file)
        .arg(size.to_string());
    run(&create);
}

pub(crate) fn run(command: &CommandSpec<'_>) -> Completed {
    let done = SystemRunner::new().run(command, &Watch::nobody()).unwrap();
    assert_eq!(done.code, 0, "{command}: {}", done.message());
    done
}

/// Looks again and again until it is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command of virsh that has to succeed, past this crate.
pub(crate) fn virsh(host: &Hypervisor, words: &[&str]) -> String {
    let done = host.virsh(words.iter().copied()).unwrap();
    assert_eq!(done.code, 0, "{words:?}: {}\n{}", done.message(), host.logs());
    String::from_utf8(done.stdout).unwrap()
}

/// What is on this machine of an open memory file: loop devices, mounts, processes that have its path.
pub(crate) fn traces(file: &Path) -> Vec<String> {
    let name = file.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if backing.contains(name) {
            found.push(format!("{:?}", entry.file_name()));
        }
    }
    let own = std::process::id().to_string();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let mounts = fs::read_to_string(entry.path().join("mounts")).unwrap_or_default();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let named = String::from_utf8_lossy(&line).contains(name);
        if mounts.contains(name) || (named && entry.file_name() != own.as_str()) {
            found.push(format!("process {:?}", entry.file_name()));
        }
    }
    found
}
