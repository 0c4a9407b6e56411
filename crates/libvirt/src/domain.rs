use std::path::PathBuf;

use strongroom_types::{ByteSize, VmId};
use uuid::Uuid;

use crate::identity::domain_uuid;
use crate::image::path;
use crate::xml::Element;
use crate::{DomainDisk, Refusal};

/// The namespace of what marks a virtual machine as ours.
pub(crate) const NAMESPACE: &str = "urn:strongroom:libvirt:1";

/// How a guest's processor is provided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Accelerator {
    /// By the machine's own processor.
    Kvm,
    /// By emulation, ten and more times slower.
    Emulation,
}

impl Accelerator {
    /// libvirt's word for it, the type of a domain.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Emulation => "qemu",
        }
    }

    /// libvirt's word for the processor that the guest sees: the host's own model, or all that emulation has.
    fn processor(self) -> &'static str {
        match self {
            Self::Kvm => "host-model",
            Self::Emulation => "maximum",
        }
    }
}

/// What a guest boots.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Boot {
    /// The boot loader on its first disk.
    Disk,
    /// A Linux kernel that the host gives it.
    Kernel {
        /// The kernel's absolute path.
        kernel: PathBuf,
        /// The initial file system's absolute path, if it has one.
        initramfs: Option<PathBuf>,
        /// The kernel's command line.
        command_line: String,
    },
}

/// Where the guest's first serial port is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Serial {
    /// At a pseudo-terminal that libvirt chooses.
    Pty,
    /// At a unix socket that QEMU makes and listens on.
    Socket(PathBuf),
    /// In a file that QEMU writes what the guest says. **In clear**: what a guest prints there is on the host's disk.
    Log(PathBuf),
}

/// A virtual machine to run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Domain {
    /// Its name.
    pub id: VmId,
    /// Its UUID, by which it is found again; [`domain_uuid`] of the name unless it is said.
    pub uuid: Uuid,
    /// How its processor is provided.
    pub accelerator: Accelerator,
    /// Its memory, in whole KiB.
    pub memory: ByteSize,
    /// How many processor cores it has.
    pub cores: u32,
    /// QEMU's name for its board. On `pc`, disks can be attached while it runs; on `q35` only as many as there are spare ports.
    pub machine: String,
    /// The emulator's absolute path; libvirt's choice when it is not said.
    pub emulator: Option<PathBuf>,
    /// What it boots.
    pub boot: Boot,
    /// Its disks, in the order in which its firmware looks at them.
    pub disks: Vec<DomainDisk>,
    /// Its first serial port.
    pub serial: Option<Serial>,
    /// Whether it has the channel of QEMU's guest agent, by which file systems are frozen.
    pub agent: bool,
}

impl Domain {
    /// A machine of type `pc` without disks, serial port and network.
    #[must_use]
    pub fn new(id: &VmId, accelerator: Accelerator, memory: ByteSize, cores: u32, boot: Boot) -> Self {
        Self {
            id: id.clone(),
            uuid: domain_uuid(id),
            accelerator,
            memory,
            cores,
            machine: "pc".into(),
            emulator: None,
            boot,
            disks: Vec::new(),
            serial: None,
            agent: false,
        }
    }

    /// The same with these disks, after those that it has.
    #[must_use]
    pub fn with_disks(mut self, disks: impl IntoIterator<Item = DomainDisk>) -> Self {
        self.disks.extend(disks);
        self
    }

    /// The same with its first serial port there.
    #[must_use]
    pub fn with_serial(mut self, serial: Serial) -> Self {
        self.serial = Some(serial);
        self
    }

    /// The same with the channel of QEMU's guest agent.
    #[must_use]
    pub fn with_agent(mut self) -> Self {
        self.agent = true;
        self
    }

    /// As libvirt's domain format has it. The guest's memory is left out of core dumps, and there is no network.
    ///
    /// # Errors
    /// [`Refusal`] when two disks have one target, there is nothing to boot, memory or cores are too few, or a path cannot be said.
    pub fn to_element(&self) -> Result<Element, Refusal> {
        self.check()?;
        let kibibytes = (self.memory.get() / 1024).to_string();
        let memory = Element::new("memory")
            .with("unit", "KiB")
            .with("dumpCore", "off")
            .saying(kibibytes);
        let mark = Element::new("strongroom:machine").with("xmlns:strongroom", NAMESPACE);
        let says = |name: &str, text: &str| Element::new(name).saying(text);
        Ok(Element::new("domain")
            .with("type", self.accelerator.as_str())
            .holding(says("name", self.id.as_str()))
            .holding(says("uuid", &self.uuid.to_string()))
            .holding(Element::new("metadata").holding(mark))
            .holding(memory)
            .holding(says("vcpu", &self.cores.to_string()))
            .holding(self.os()?)
            .holding(Element::new("features").holding(Element::new("acpi")))
            .holding(Element::new("cpu").with("mode", self.accelerator.processor()))
            .holding(says("on_poweroff", "destroy"))
            .holding(says("on_reboot", "restart"))
            .holding(says("on_crash", "destroy"))
            .holding(self.devices()?))
    }

    fn check(&self) -> Result<(), Refusal> {
        if self.cores == 0 || self.memory.get() < 1 << 20 {
            return Err(Refusal::NoMachine);
        }
        if self.boot == Boot::Disk && self.disks.is_empty() {
            return Err(Refusal::NothingToBoot);
        }
        for (position, disk) in self.disks.iter().enumerate() {
            if self
                .disks
                .iter()
                .take(position)
                .any(|other| other.target == disk.target)
            {
                return Err(Refusal::TargetTwice(disk.target.to_string()));
            }
        }
        Ok(())
    }

    fn os(&self) -> Result<Element, Refusal> {
        let kind = Element::new("type")
            .with("machine", self.machine.as_str())
            .saying("hvm");
        let os = Element::new("os").holding(kind);
        Ok(match &self.boot {
            Boot::Disk => os.holding(Element::new("boot").with("dev", "hd")),
            Boot::Kernel {
                kernel,
                initramfs,
                command_line,
            } => {
                let mut os = os.holding(Element::new("kernel").saying(path(kernel)?));
                if let Some(initramfs) = initramfs {
                    os = os.holding(Element::new("initrd").saying(path(initramfs)?));
                }
                if command_line.is_empty() {
                    os
                } else {
                    os.holding(Element::new("cmdline").saying(command_line.as_str()))
                }
            }
        })
    }

    fn devices(&self) -> Result<Element, Refusal> {
        let mut devices = Element::new("devices");
        if let Some(emulator) = &self.emulator {
            devices = devices.holding(Element::new("emulator").saying(path(emulator)?));
        }
        for disk in &self.disks {
            devices = devices.holding(disk.to_element()?);
        }
        let without = |name: &str| Element::new(name).with("model", "none");
        devices = devices.holding(
            Element::new("controller")
                .with("type", "usb")
                .with("model", "none"),
        );
        if let Some(serial) = &self.serial {
            devices = devices.holding(serial_port(serial)?);
        }
        if self.agent {
            let target = Element::new("target")
                .with("type", "virtio")
                .with("name", "org.qemu.guest_agent.0");
            devices = devices.holding(Element::new("channel").with("type", "unix").holding(target));
        }
        Ok(devices.holding(without("memballoon")))
    }
}

fn serial_port(serial: &Serial) -> Result<Element, Refusal> {
    let (kind, source) = match serial {
        Serial::Pty => ("pty", None),
        Serial::Socket(socket) => (
            "unix",
            Some(
                Element::new("source")
                    .with("mode", "bind")
                    .with("path", path(socket)?),
            ),
        ),
        Serial::Log(file) => ("file", Some(Element::new("source").with("path", path(file)?))),
    };
    Ok(Element::new("serial").with("type", kind).holding_all(source))
}
