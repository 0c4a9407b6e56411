use std::path::PathBuf;
use std::sync::Arc;

use strongroom_exec::fake::RecordingRunner;
use strongroom_exec::{CommandSpec, Completed, Program, Runner, SystemRunner, Watch};
use strongroom_lab::{Console, GuestImage, Hypervisor, Hypervisors};
use strongroom_libvirt::{
    Accelerator, Boot, Connection, Domain, DomainDisk, Image, LibvirtError, Machine, SecretName, Serial,
    Source,
};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::{ByteSize, Call, DiskFormat};

/// A host of the lab and this crate's connection to it.
pub(crate) struct World {
    pub(crate) connection: Connection,
    pub(crate) runner: Arc<RecordingRunner>,
    pub(crate) lab: Hypervisors,
    image: GuestImage,
}

/// An encrypted disk that was made, its key, and how libvirt knows the key.
pub(crate) struct Volume {
    pub(crate) image: Image,
    pub(crate) secret: SecretName,
    pub(crate) key: Passphrase,
    /// Where this machine finds the file.
    pub(crate) file: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let lab = Hypervisors::one().unwrap();
        let runner = Arc::new(RecordingRunner::around(SystemRunner::new()));
        let connection = Connection::find(runner.clone(), lab.first().uri().parse().unwrap()).unwrap();
        Self {
            connection,
            runner,
            lab,
            image: GuestImage::ready().unwrap(),
        }
    }

    pub(crate) fn host(&self) -> &Hypervisor {
        self.lab.first()
    }

    pub(crate) fn call(&self) -> Call {
        Call::new()
    }

    /// A disk of 64 MiB in a file of the host, encrypted.
    pub(crate) fn volume(&self, name: &str, format: DiskFormat) -> Volume {
        self.create(name, format, "64M", &[])
    }

    /// A qcow2 disk of another size.
    pub(crate) fn sized(&self, name: &str, size: &str) -> Volume {
        self.create(name, DiskFormat::Qcow2, size, &[])
    }

    fn create(&self, name: &str, format: DiskFormat, size: &str, options_too: &[&str]) -> Volume {
        let key = Passphrase::generate().unwrap();
        let inside = self.host().local().join(name);
        let file = self.host().outside(&inside);
        let secret = SecretFile::new(&key).unwrap();
        let mut create = CommandSpec::new(Program::find("qemu-img").unwrap()).args(["create", "-q"]);
        let path = secret.path_in_child(|descriptor| create.pass(descriptor));
        let (word, options) = match format {
            DiskFormat::Qcow2 => (
                "qcow2",
                "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=1",
            ),
            DiskFormat::Raw => ("luks", "key-secret=s,iter-time=1"),
        };
        create = create.args([
            "--object".to_owned(),
            format!("secret,id=s,file={}", path.display()),
        ]);
        create = create
            .args(["-f", word, "-o", options])
            .args(options_too.iter().copied())
            .arg(file.as_os_str())
            .arg(size);
        run(&create);
        let secret = SecretName::new(&name.parse().unwrap(), &"pp-1".parse().unwrap());
        let image = Image::encrypted(Source::File(inside), format, secret.uuid());
        Volume {
            image,
            secret,
            key,
            file,
        }
    }

    /// An encrypted qcow2 of 64 MiB on another one, as the host names that.
    pub(crate) fn overlay(&self, name: &str, base: &Volume) -> Volume {
        let below = match base.image.format() {
            DiskFormat::Qcow2 => "qcow2",
            DiskFormat::Raw => "luks",
        };
        let path = base.image.source().path().to_str().unwrap();
        self.create(name, DiskFormat::Qcow2, "64M", &["-u", "-F", below, "-b", path])
    }

    pub(crate) fn load(&self, volume: &Volume) {
        self.connection
            .load_secret(&self.call(), &volume.secret, &volume.key)
            .unwrap();
    }

    pub(crate) fn unload(&self, volume: &Volume) {
        self.connection
            .unload_secret(&self.call(), &volume.secret)
            .unwrap();
    }

    /// A guest that answers on its console.
    pub(crate) fn domain(&self, name: &str, disks: impl IntoIterator<Item = DomainDisk>) -> Domain {
        let boot = Boot::Kernel {
            kernel: self.image.kernel.clone(),
            initramfs: Some(self.image.initramfs.clone()),
            command_line: self.image.cmdline.to_owned(),
        };
        let console = self.host().local().join(format!("{name}.console"));
        Domain::new(
            &name.parse().unwrap(),
            Accelerator::Emulation,
            ByteSize::mib(160),
            1,
            boot,
        )
        .with_disks(disks)
        .with_serial(Serial::Socket(console))
    }

    pub(crate) fn machine(&self, name: &str) -> Machine<'_> {
        self.connection.machine(&name.parse().unwrap())
    }

    pub(crate) fn start(&self, domain: &Domain, paused: bool) {
        if let Err(error) = self.connection.start(&self.call(), domain, paused) {
            panic!("{error}\n{}", self.host().logs());
        }
    }

    /// Starts a guest that runs on these disks, whose keys libvirt has only meanwhile.
    pub(crate) fn run_on<const N: usize>(&self, disks: [(&str, &Volume); N]) {
        for (_, volume) in disks {
            self.load(volume);
        }
        let given = disks.map(|(target, volume)| disk(target, &volume.image));
        self.start(&self.domain("vm", given), false);
        for (_, volume) in disks {
            self.unload(volume);
        }
    }

    /// Every command of this name was given these words as well.
    pub(crate) fn always_said(&self, action: &str, words: &[&str]) {
        let lines = self.runner.lines();
        let lines: Vec<&String> = lines.iter().filter(|line| line.contains(action)).collect();
        assert!(!lines.is_empty(), "{action}");
        for line in lines {
            assert!(words.iter().all(|word| line.contains(word)), "{line}");
        }
    }

    /// Returns when libvirt does not have it any more.
    pub(crate) fn gone(&self, name: &str) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !matches!(
            self.machine(name).state(&self.call()),
            Err(LibvirtError::NoDomain { .. })
        ) {
            assert!(
                std::time::Instant::now() < until,
                "{name} is still there\n{}",
                self.host().logs()
            );
        }
    }

    pub(crate) fn console(&self, name: &str) -> Console {
        let inside = self.host().local().join(format!("{name}.console"));
        Console::connect(&self.host().outside(&inside)).unwrap()
    }
}

pub(crate) fn disk(target: &str, image: &Image) -> DomainDisk {
    DomainDisk::new(target.parse().unwrap(), image.clone())
}

pub(crate) fn run(command: &CommandSpec<'_>) -> Completed {
    let done = SystemRunner::new().run(command, &Watch::nobody()).unwrap();
    assert_eq!(done.code, 0, "{command}: {}", done.message());
    done
}

pub(crate) fn run_words(program: &str, words: &[&str]) -> Completed {
    run(&CommandSpec::new(Program::find(program).unwrap()).args(words.iter().copied()))
}
