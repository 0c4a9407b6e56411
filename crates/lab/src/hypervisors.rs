mod abilities;
mod capture;
mod certificates;
mod configuration;
mod console;
mod error;
mod host;
mod image;
mod namespaces;
mod place;
mod process;
mod search;
pub(crate) mod tools;

pub use capture::{Capture, Captured};
pub use console::{Answer, Console};
pub use error::LabError;
pub use host::Hypervisor;
pub use image::GuestImage;
pub use search::{Hit, find_in};

use configuration::Configuration;
use place::Place;

use crate::cache::Cache;

/// The network interface between the hosts, on either.
pub const LINK: &str = "link0";

/// One or two hosts with a libvirtd each. With this value they go: processes, mounts, network devices and files.
#[derive(Debug)]
pub struct Hypervisors {
    // Before the directory that they live in.
    first: Hypervisor,
    second: Option<Hypervisor>,
    _place: Place,
}

/// What hosts are to come up.
#[derive(Debug, Clone)]
pub struct LabPlan {
    hosts: usize,
    configuration: Configuration,
}

impl Default for LabPlan {
    fn default() -> Self {
        Self::new()
    }
}

impl LabPlan {
    /// Two hosts that take no migration without TLS.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hosts: 2,
            configuration: Configuration {
                force_tls: true,
                qemu: String::new(),
            },
        }
    }

    /// The same with the first host only.
    #[must_use]
    pub fn one_host(mut self) -> Self {
        self.hosts = 1;
        self
    }

    /// The same, and migrations without TLS are taken too (`migrate_tls_force = 0`).
    #[must_use]
    pub fn without_forced_tls(mut self) -> Self {
        self.configuration.force_tls = false;
        self
    }

    /// The same with one more line in each host's `qemu.conf`.
    #[must_use]
    pub fn with_qemu_setting(mut self, line: &str) -> Self {
        self.configuration.qemu.push_str(&format!("{line}\n"));
        self
    }

    /// Brings them up.
    ///
    /// # Errors
    /// As [`Hypervisors::up`].
    pub fn up(&self) -> Result<Hypervisors, LabError> {
        if !rustix::process::geteuid().is_root() {
            return Err(LabError::NotRoot);
        }
        let place = Place::new()?;
        certificates::put(&place, &Cache::of_this_program()?)?;
        place.write("hosts", "127.0.0.1 localhost\n10.77.0.1 h1\n10.77.0.2 h2\n")?;
        let host = |name| Hypervisor::new(name, &place, &self.configuration);
        let first = host("h1")?;
        let second = match self.hosts {
            1 => None,
            _ => Some(host("h2")?),
        };
        if let Some(second) = &second {
            first.link(second)?;
        }
        std::thread::scope(|scope| {
            let other = second.as_ref().map(|host| scope.spawn(|| host.start_libvirtd()));
            first.start_libvirtd()?;
            match other.map(std::thread::ScopedJoinHandle::join) {
                None => Ok(()),
                Some(Ok(started)) => started,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
            }
        })?;
        Ok(Hypervisors {
            first,
            second,
            _place: place,
        })
    }
}

impl Hypervisors {
    /// Two hosts, `h1` and `h2`, whose libvirtd answer when this returns. They take no migration without TLS.
    ///
    /// # Errors
    /// [`LabError::NotRoot`] for another user; [`LabError::Tool`] and [`LabError::NoLibvirt`] for what is not installed;
    /// others when something does not start, with its log.
    pub fn up() -> Result<Self, LabError> {
        LabPlan::new().up()
    }

    /// The first host only.
    ///
    /// # Errors
    /// As [`up`](Self::up).
    pub fn one() -> Result<Self, LabError> {
        LabPlan::new().one_host().up()
    }

    /// The host `h1`.
    #[must_use]
    pub fn first(&self) -> &Hypervisor {
        &self.first
    }

    /// The host `h2`.
    ///
    /// # Panics
    /// In a lab of one host.
    #[must_use]
    #[track_caller]
    #[expect(
        clippy::panic,
        reason = "the test that made the lab with one host asks for the other"
    )]
    pub fn second(&self) -> &Hypervisor {
        match &self.second {
            Some(host) => host,
            None => panic!("this lab was made with one host"),
        }
    }
}
