use std::time::Duration;

use strongroom_types::{ByteSize, Call};

use crate::memory::refuse_unnamed;
use crate::rehoming::{Place, refuse_in_clear, rehomed};
use crate::xml::Element;
use crate::{Arrival, Document, LibvirtError, LiveDomain, Machine, MigratedDisks, Migration, Refusal};

/// How long a move may take. A call's deadline comes first.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// Machines that move to another host while the guest runs.
impl Machine<'_> {
    /// Moves a running machine to another host, inside TLS: its memory, and the content of its disks when they are copied. The two hosts' QEMU
    /// speak TLS with one another (`default_tls_x509_cert_dir`), and what is copied is decrypted here and encrypted there with the key of there.
    ///
    /// The other host has the keys of the disks by then, [loaded](crate::Connection::load_secret) under the UUIDs that the arrivals have, and the images that
    /// are copied into. Here no key is needed. When this returns, the guest runs there; [look](Self::check_arrivals) at it there, and take the keys from
    /// there.
    ///
    /// # Errors
    /// [`Refusal::OpenWay`], [`Refusal::HostName`], [`Refusal::Unnamed`], [`Refusal::InClear`], [`Refusal::NoLength`]; [`LibvirtError::NotRunning`], [`LibvirtError::Busy`] when something works
    /// on a disk, [`LibvirtError::NoSecret`] and [`LibvirtError::WrongKey`] of the other host, others as libvirt says, and as
    /// [`Connection::run`](crate::Connection::run). Then the guest goes on here, also after [`LibvirtError::Interrupted`], and the other host's libvirt has ended
    /// what it had begun; images and keys there are the caller's to remove. When this host's libvirt cannot be reached any more
    /// ([`LibvirtError::Unreachable`]), start it and look where the guest is.
    pub fn migrate(&self, call: &Call, migration: &Migration) -> Result<(), LibvirtError> {
        const ACTION: &str = "migrate";
        migration.check()?;
        let domain = self.idle(call, ACTION)?;
        let document = match &migration.disks {
            MigratedDisks::Shared => None,
            MigratedDisks::Copied(arrivals) => {
                check_departure(&domain, arrivals)?;
                Some(Document::new(&rehomed(
                    self.migratable(call)?,
                    &places(arrivals),
                )?)?)
            }
        };
        let mut migrate = self
            .command(ACTION)
            .option("--desturi", migration.to.as_str())
            .word("--live")
            .word("--p2p")
            .word("--tls")
            .word("--abort-on-error")
            .within(LONG);
        if let Some(name) = &migration.certificate_name {
            migrate = migrate.option("--tls-destination", name.as_str());
        }
        if let Some(rate) = migration.rate {
            migrate = migrate.option("--bandwidth", rate.to_string());
        }
        if let Some(document) = &document {
            migrate = migrate.word("--copy-storage-all").document("--xml", document);
        }
        match self.connection.run(call, &migrate) {
            Ok(_) => Ok(()),
            // In its last moment it cannot be ended any more, and then the guest is there.
            Err(LibvirtError::Interrupted { .. }) if self.was_done_anyway() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a machine that came has its disks open as they were described, encrypted by QEMU here: for the host that it moved to.
    ///
    /// # Errors
    /// [`LibvirtError::WrongNode`], [`LibvirtError::NoDisk`], [`LibvirtError::NoDomain`], and as [`Connection::run`](crate::Connection::run).
    pub fn check_arrivals(&self, call: &Call, arrivals: &[Arrival]) -> Result<(), LibvirtError> {
        self.check_places(call, &places(arrivals))
    }

    /// Its description as another libvirt takes it.
    fn migratable(&self, call: &Call) -> Result<Element, LibvirtError> {
        let ask = self
            .command("dumpxml")
            .word("--migratable")
            .word("--security-info");
        let xml = self.connection.run(call, &ask)?;
        Element::parse(&xml).map_err(|error| ask.unreadable(error.to_string()))
    }
}

fn check_departure(domain: &LiveDomain, arrivals: &[Arrival]) -> Result<(), LibvirtError> {
    if let Some(unknown) = arrivals
        .iter()
        .find(|arrival| domain.disk(&arrival.target).is_none())
    {
        return Err(LibvirtError::NoDisk {
            action: "migrate",
            message: format!("no virtio disk is {}", unknown.target),
        });
    }
    refuse_in_clear(domain, &places(arrivals))?;
    refuse_unnamed(
        domain
            .disks
            .iter()
            .filter(|disk| !disk.read_only)
            .map(|disk| &disk.target),
        |target| arrivals.iter().any(|arrival| arrival.target == *target),
        "libvirt would make a plain image for it on the other host, or take what lies there",
    )?;
    let unmeasured = arrivals
        .iter()
        .find(|arrival| arrival.is_raw_luks() && arrival.length.is_none());
    unmeasured.map_or(Ok(()), |arrival| {
        Err(Refusal::NoLength(arrival.target.clone()).into())
    })
}

fn places(arrivals: &[Arrival]) -> Vec<Place<'_>> {
    arrivals
        .iter()
        .map(|arrival| Place {
            target: &arrival.target,
            image: &arrival.image,
            backing: &[],
            length: arrival
                .length
                .filter(|_| arrival.is_raw_luks())
                .map(ByteSize::get),
        })
        .collect()
}
