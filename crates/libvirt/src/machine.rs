use strongroom_types::{Call, VmId};
use uuid::Uuid;

use crate::identity::domain_uuid;
use crate::{Connection, Document, Domain, LibvirtError, LiveDomain, Virsh};

/// How a virtual machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MachineState {
    /// Its processors run.
    Running,
    /// Its processors are stopped because somebody asked.
    Paused,
    /// QEMU stopped its processors after a disk gave an error, such as a file system that is full. It goes on when it is resumed, and does
    /// then again what failed.
    Stopped,
    /// It goes down.
    ShuttingDown,
    /// It does not run. A transient machine, such as those that are started here, is then gone.
    Off,
    /// QEMU ended unasked.
    Crashed,
    /// Something else: it sleeps by itself, is blocked, or libvirt does not know.
    Other,
}

/// A virtual machine of a daemon, by its UUID. To have one says nothing about whether it is there.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'c> {
    pub(crate) connection: &'c Connection,
    uuid: Uuid,
}

impl Connection {
    /// The machine of this id, as [`Domain`] describes it.
    #[must_use]
    pub fn machine(&self, id: &VmId) -> Machine<'_> {
        self.machine_with_uuid(domain_uuid(id))
    }

    /// The machine of this UUID, also one that somebody else made.
    #[must_use]
    pub fn machine_with_uuid(&self, uuid: Uuid) -> Machine<'_> {
        Machine {
            connection: self,
            uuid,
        }
    }

    /// Starts a machine. libvirt checks the description against its own schema first. The machine is transient: when it stops, libvirt
    /// forgets it, and nothing starts it when the host does, for there would be no keys.
    ///
    /// The secrets of its disks have to be [loaded](Connection::load_secret), and can go when this returns. `paused`: the guest is made
    /// and does not run before it is resumed.
    ///
    /// # Errors
    /// [`LibvirtError::NoSecret`], [`LibvirtError::WrongKey`], [`LibvirtError::NotLuks`], [`LibvirtError::NotEncrypted`],
    /// [`LibvirtError::KeyNeeded`], [`LibvirtError::Busy`], [`LibvirtError::AlreadyExists`], [`LibvirtError::Refused`], and as
    /// [`Connection::run`]. Then nothing of it runs, unless the call was interrupted.
    pub fn start(&self, call: &Call, domain: &Domain, paused: bool) -> Result<(), LibvirtError> {
        let document = Document::new(&domain.to_element()?)?;
        let mut create = Virsh::new("create")
            .document("--file", &document)
            .word("--validate");
        if paused {
            create = create.word("--paused");
        }
        self.run(call, &create).map(drop)
    }

    /// The machines that run, paused ones included, ours and others.
    ///
    /// One that stops while they are looked at is left out.
    ///
    /// # Errors
    /// As [`Connection::run`].
    pub fn machines(&self, call: &Call) -> Result<Vec<LiveDomain>, LibvirtError> {
        let list = Virsh::new("list").word("--uuid");
        let printed = self.run(call, &list)?;
        let mut found = Vec::new();
        for line in printed.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let uuid = Uuid::try_parse(line).map_err(|_| list.unreadable("a line is no UUID"))?;
            match self.machine_with_uuid(uuid).describe(call) {
                Ok(domain) => found.push(domain),
                Err(LibvirtError::NoDomain { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(found)
    }
}

impl Machine<'_> {
    /// Its UUID.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// A command on this machine.
    #[must_use]
    pub fn command<'k>(&self, action: &'static str) -> Virsh<'k> {
        Virsh::new(action).option("--domain", self.uuid.to_string())
    }

    fn act(&self, call: &Call, action: &'static str) -> Result<(), LibvirtError> {
        self.connection.run(call, &self.command(action)).map(drop)
    }

    /// How it is.
    ///
    /// # Errors
    /// [`LibvirtError::NoDomain`], and as [`Connection::run`].
    pub fn state(&self, call: &Call) -> Result<MachineState, LibvirtError> {
        let ask = self.command("domstate").word("--reason");
        let printed = self.connection.run(call, &ask)?;
        let (state, reason) = printed.trim().split_once(" (").unwrap_or((printed.trim(), ""));
        Ok(match state {
            "running" => MachineState::Running,
            "paused" if matches!(reason, "I/O error)" | "unknown)") => self.state_in_qemu(call)?,
            "paused" => MachineState::Paused,
            "in shutdown" => MachineState::ShuttingDown,
            "shut off" => MachineState::Off,
            "crashed" => MachineState::Crashed,
            _ => MachineState::Other,
        })
    }

    /// When a disk gives errors several times, libvirt 11.3 loses count: it was seen not to know why a guest is paused, and to take one for
    /// paused that runs. QEMU knows.
    fn state_in_qemu(&self, call: &Call) -> Result<MachineState, LibvirtError> {
        let answer = self.monitor(call, "query-status", serde_json::Map::new())?;
        let status = answer.get("status").and_then(serde_json::Value::as_str);
        Ok(match status {
            Some("running") => MachineState::Running,
            Some("io-error") => MachineState::Stopped,
            _ => MachineState::Paused,
        })
    }

    /// It has a QEMU.
    pub(crate) fn alive(&self, call: &Call, action: &'static str) -> Result<(), LibvirtError> {
        match self.state(call)? {
            MachineState::Off | MachineState::Crashed => Err(LibvirtError::NotRunning {
                action,
                message: "its disks are worked on with qemu-img".into(),
            }),
            _ => Ok(()),
        }
    }

    /// What libvirt says about it, without keys.
    ///
    /// # Errors
    /// [`LibvirtError::NoDomain`], [`LibvirtError::Output`], and as [`Connection::run`].
    pub fn describe(&self, call: &Call) -> Result<LiveDomain, LibvirtError> {
        let command = self.command("dumpxml");
        let xml = self.connection.run(call, &command)?;
        LiveDomain::parse(&xml).map_err(|error| command.unreadable(error.to_string()))
    }

    /// Ends it at once, as when the power fails. One that is not there is fine.
    ///
    /// # Errors
    /// As [`Connection::run`].
    pub fn destroy(&self, call: &Call) -> Result<(), LibvirtError> {
        match self.act(call, "destroy") {
            Err(LibvirtError::NoDomain { .. } | LibvirtError::NotRunning { .. }) => Ok(()),
            done => done,
        }
    }

    /// Asks the guest to go down, and does not wait for it. A guest without a kernel that listens to the power button stays.
    ///
    /// # Errors
    /// [`LibvirtError::NoDomain`], [`LibvirtError::NotRunning`], also for a guest whose processors are stopped, and as [`Connection::run`].
    pub fn shut_down(&self, call: &Call) -> Result<(), LibvirtError> {
        self.act(call, "shutdown")
    }

    /// Stops the guest's processors.
    ///
    /// # Errors
    /// [`LibvirtError::NoDomain`], [`LibvirtError::NotRunning`], and as [`Connection::run`].
    pub fn suspend(&self, call: &Call) -> Result<(), LibvirtError> {
        self.act(call, "suspend")
    }

    /// Lets a guest go on whose processors are stopped.
    ///
    /// # Errors
    /// [`LibvirtError::NoDomain`], [`LibvirtError::NotRunning`], and as [`Connection::run`].
    pub fn resume(&self, call: &Call) -> Result<(), LibvirtError> {
        self.act(call, "resume")
    }
}
