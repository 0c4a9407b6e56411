//! What this host's hypervisor can do, found out by doing it with a machine that has no guest and is thrown away.

use std::path::Path;
use std::time::Instant;

use strongroom_endpoint_selector::{
    Boot, ChangeVmDiskKey, CopyVmDisk, CreateDisk, Disk, DiskContent, DiskLocation, EndpointError, ErrorKind,
    HostAnswer, Protection, StartVm, Vm, VmDisk,
};
use strongroom_libvirt::Document;
use strongroom_libvirt::xml::Element;
use strongroom_secret::Passphrase;
use strongroom_types::{
    ByteSize, Call, Capability, DiskFormat, DiskTarget, EncryptionFormat, Finding, GuestSize, VmId, VolumeId,
};

use super::session::{Session, to_its_end};
use super::{Hypervisor, NO_HYPERVISOR, copy, key, start};
use crate::create;
use crate::tools::Tools;

const PROBE: &str = "Probe";

/// In the order in which they are tried: the last may cost QEMU its life.
const FOUND_HERE: [Capability; 4] = [
    Capability::EncryptedVms,
    Capability::LiveBlockCopy,
    Capability::MigrationTls,
    Capability::LiveKeyslotChange,
];

/// Whether a capability is found out here.
pub(crate) fn probes(capability: Capability) -> bool {
    FOUND_HERE.contains(&capability)
}

/// What was found of each of these capabilities. `place` is a directory of the probe's own.
pub(crate) fn find(
    hypervisor: Option<&Hypervisor>,
    tools: &Tools,
    call: &Call,
    place: &Path,
) -> Vec<(Capability, Finding)> {
    let missing = |why: &str| {
        let all = FOUND_HERE.into_iter();
        all.map(|capability| (capability, Finding::Missing(why.to_owned())))
            .collect()
    };
    let Some(hypervisor) = hypervisor else {
        return missing(NO_HYPERVISOR);
    };
    let found = Session::open(hypervisor, tools, call, PROBE).and_then(|mut session| {
        session.changes_keyslots = true;
        Bench::new(&session, place)?.find()
    });
    found.unwrap_or_else(|e| missing(e.message()))
}

/// A machine without a guest, its disks and their keys.
struct Bench<'b> {
    session: &'b Session<'b>,
    vm: VmId,
    qcow2: Trial,
    raw: Trial,
    copy: Trial,
}

struct Trial {
    target: DiskTarget,
    volume: VolumeId,
    location: DiskLocation,
    format: DiskFormat,
    key: Passphrase,
}

impl Trial {
    fn new(place: &Path, name: &str, format: DiskFormat, target: &str) -> Result<Self, EndpointError> {
        let failed = |e: &dyn std::error::Error| EndpointError::new(ErrorKind::Io, PROBE, e.to_string());
        Ok(Self {
            target: target.parse().map_err(|e| failed(&e))?,
            volume: VolumeId::random(),
            location: DiskLocation::File(place.join(name)),
            format,
            key: Passphrase::generate().map_err(|e| failed(&e))?,
        })
    }

    fn opened_by<'t>(&'t self, key: &'t Passphrase) -> VmDisk<'t> {
        let protection = Protection::Luks {
            format: EncryptionFormat::Luks1,
            key,
        };
        VmDisk::new(
            &self.target,
            &self.volume,
            Disk::new(&self.location, self.format, protection),
        )
    }

    fn disk(&self) -> VmDisk<'_> {
        self.opened_by(&self.key)
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.session.machine(&self.vm).destroy(&to_its_end()) {
            tracing::error!(vm = %self.vm, %error, "a machine that was made to look at may still be there");
        }
    }
}

impl<'b> Bench<'b> {
    fn new(session: &'b Session<'b>, place: &Path) -> Result<Self, EndpointError> {
        Ok(Self {
            session,
            vm: VmId::random(),
            qcow2: Trial::new(place, "machine.qcow2", DiskFormat::Qcow2, "vda")?,
            raw: Trial::new(place, "machine.luks", DiskFormat::Raw, "vdb")?,
            copy: Trial::new(place, "copy.qcow2", DiskFormat::Qcow2, "vdb")?,
        })
    }

    /// Tries each, and leaves nothing.
    fn find(&self) -> Result<Vec<(Capability, Finding)>, EndpointError> {
        let mut found = Vec::new();
        for capability in FOUND_HERE {
            self.session.go_on()?;
            let begun = Instant::now();
            let runs = matches!(found.first(), None | Some((_, Finding::Works(_))));
            let tried = match capability {
                _ if !runs => Err(self.session.error(
                    ErrorKind::Unsupported,
                    "no virtual machine with encrypted disks runs here",
                )),
                Capability::EncryptedVms => self.starts(),
                Capability::LiveBlockCopy => self.copies(),
                Capability::MigrationTls => self.refuses_open_migration(),
                _ => self.changes_key(),
            };
            let milliseconds = begun.elapsed().as_millis();
            let finding = match tried {
                Ok(evidence) => Finding::Works(format!("{evidence} ({milliseconds} ms)")),
                Err(e) => Finding::Missing(e.message().to_owned()),
            };
            found.push((capability, finding));
        }
        Ok(found)
    }

    fn starts(&self) -> Result<&'static str, EndpointError> {
        let size = GuestSize::new(1 << 20).map_err(|e| self.session.error(ErrorKind::Io, e.to_string()))?;
        for trial in [&self.qcow2, &self.raw] {
            let disk = trial.disk().disk;
            let path = disk.location.path();
            let made = CreateDisk::new(path, disk.format, size, disk.protection, DiskContent::Blank);
            create::create(self.session.tools, self.session.call, &made)?;
        }
        let disks = [self.qcow2.disk(), self.raw.disk()];
        let machine = Vm::new(&self.vm, ByteSize::mib(32), 1, Boot::Disk).with_disks(&disks);
        start::start(self.session, &StartVm::new(machine.paused()))?;
        let left = self
            .session
            .libvirt
            .secrets(self.session.call)
            .map_err(|e| self.session.failed(e))?;
        let ours = [&self.qcow2.volume, &self.raw.volume];
        if left.iter().any(|secret| ours.contains(&secret.volume())) {
            let message = "libvirt keeps a key that it was told to forget";
            return Err(self.session.error(ErrorKind::Tool, message));
        }
        Ok("a machine had a qcow2 and a raw disk open through LUKS, and libvirt forgot both keys")
    }

    fn copies(&self) -> Result<&'static str, EndpointError> {
        let answer = copy::copy(self.session, &CopyVmDisk::new(&self.vm, self.copy.disk()))?;
        let there = match &answer {
            HostAnswer::Vm(facts) => facts.disk(&self.copy.target),
            _ => None,
        };
        match there {
            Some(disk) if disk.location == self.copy.location && disk.encryption.is_some() => {
                Ok("a raw LUKS disk became a qcow2 under another key while a machine had it open")
            }
            _ => {
                let message = "the machine is not on the copy of its disk";
                Err(self.session.error(ErrorKind::Tool, message))
            }
        }
    }

    fn changes_key(&self) -> Result<&'static str, EndpointError> {
        let new = Passphrase::generate().map_err(|e| self.session.error(ErrorKind::Io, e.to_string()))?;
        let change = ChangeVmDiskKey::new(&self.vm, self.qcow2.disk(), &new);
        key::change(self.session, &change)?;
        self.session
            .machine(&self.vm)
            .destroy(&to_its_end())
            .map_err(|e| self.session.failed(e))?;
        let (tools, call) = (self.session.tools, self.session.call);
        tools.open_with_key(PROBE, call, &self.qcow2.opened_by(&new).disk)?;
        match tools.open_with_key(PROBE, call, &self.qcow2.disk().disk) {
            Err(e) if e.kind() == ErrorKind::WrongKey => {
                Ok("another key took the place of the first while a machine had the qcow2 open")
            }
            Err(e) => Err(e),
            Ok(()) => {
                let message = "the key that was removed still opens the qcow2";
                Err(self.session.error(ErrorKind::Tool, message))
            }
        }
    }

    /// What one host can see of it: QEMU loads certificates of its own for a channel that takes connections, which are those of migrations
    /// unless somebody configured others, and libvirt lets no migration out in clear. That one goes nowhere: to this host itself.
    fn refuses_open_migration(&self) -> Result<&'static str, EndpointError> {
        let (session, machine) = (self.session, self.session.machine(&self.vm));
        let source = Element::new("source")
            .with("mode", "bind")
            .with("host", "127.0.0.1")
            .with("service", "0")
            .with("tls", "yes");
        let target = Element::new("target")
            .with("type", "virtio")
            .with("name", "org.strongroom.probe");
        let channel = Element::new("channel").with("type", "tcp");
        let channel =
            Document::new(&channel.holding(source).holding(target)).map_err(|e| session.failed(e))?;
        let attach = machine
            .command("attach-device")
            .document("--file", &channel)
            .word("--live");
        session
            .libvirt
            .run(session.call, &attach)
            .map_err(|e| session.failed(e))?;
        let in_clear = machine
            .command("migrate")
            .word("--live")
            .option("--desturi", session.libvirt.uri().as_str());
        let refused = session.libvirt.run(session.call, &in_clear);
        match refused {
            // The name of the flag is the same in every language.
            Err(e) if e.to_string().contains("VIR_MIGRATE_TLS") => {
                Ok("QEMU loaded its certificates, and libvirt refused a migration without TLS")
            }
            _ => {
                let message = "libvirt lets virtual machines out in clear as well; set migrate_tls_force = 1 in its qemu.conf";
                Err(session.error(ErrorKind::Unsupported, message))
            }
        }
    }
}
