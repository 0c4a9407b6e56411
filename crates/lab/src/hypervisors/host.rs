use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::process::Signal;
use strongroom_exec::{CommandSpec, Completed};

use super::capture::Capture;
use super::configuration::{Configuration, OWN};
use super::namespaces::{Namespaces, tail};
use super::place::Place;
use super::process::{PATIENCE, Process, until};
use super::tools::{run, succeed, tool};
use super::{LabError, abilities};

/// Inside; outside it lies in the lab's directory.
const LOG: &str = "/var/log/libvirt/libvirtd.out";

/// One host of the lab: a libvirtd in namespaces of its own.
#[derive(Debug)]
pub struct Hypervisor {
    name: &'static str,
    lab: PathBuf,
    local: PathBuf,
    shared: PathBuf,
    namespaces: Namespaces,
    libvirtd: Mutex<Option<Process>>,
}

impl Hypervisor {
    pub(crate) fn new(
        name: &'static str,
        place: &Place,
        configuration: &Configuration,
    ) -> Result<Self, LabError> {
        for (directory, inside) in OWN {
            place.directory(&format!("{name}/{directory}"))?;
            if directory != "run" && !Path::new(inside).is_dir() {
                return Err(LabError::NoLibvirt { path: inside.into() });
            }
        }
        place.directory(&format!("{name}/local"))?;
        let (local, shared) = (place.directory("local")?, place.directory("shared")?);
        configuration.write(place, name)?;
        abilities::recall(&place.path().join(name).join("cache"));
        Ok(Self {
            name,
            lab: place.path().to_owned(),
            local,
            shared,
            namespaces: Namespaces::new(name, place.path())?,
            libvirtd: Mutex::new(None),
        })
    }

    /// Its host name: `h1` or `h2`. By this name the other host reaches it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// The number of its first process on this machine: `nsenter --target` takes it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.namespaces.pid()
    }

    /// The URI of its libvirtd for programs of this machine: a socket in the lab's directory.
    #[must_use]
    pub fn uri(&self) -> String {
        let socket = self.outside(Path::new("/run/libvirt/libvirt-sock"));
        format!("qemu+unix:///system?socket={}", socket.display())
    }

    /// The URI by which the other host's libvirtd reaches this one, with the client certificate that it needs: for a
    /// peer-to-peer migration, and for `virsh` inside the other host.
    #[must_use]
    pub fn migration_uri(&self) -> String {
        let certificates = self.lab.join("pki/client");
        format!(
            "qemu+tls://{}/system?pkipath={}",
            self.name,
            certificates.display()
        )
    }

    /// A directory of its own, which has the same path on both hosts and other files. The path is that inside;
    /// [`outside`](Self::outside) says where this machine finds it.
    #[must_use]
    pub fn local(&self) -> &Path {
        &self.local
    }

    /// The directory that both hosts share, which libvirt is told. It has the same path inside and outside.
    #[must_use]
    pub fn shared(&self) -> &Path {
        &self.shared
    }

    /// Where this machine finds a file of the host. Of the host's own are [`local`](Self::local) and what libvirt has below `/run`,
    /// `/etc`, `/var/lib`, `/var/log` and `/var/cache`; all else is the machine's, under the same path.
    #[must_use]
    pub fn outside(&self, inside: &Path) -> PathBuf {
        let own = self.lab.join(self.name);
        let places = OWN
            .iter()
            .map(|(directory, place)| (*directory, Path::new(*place)));
        places
            .chain([("local", self.local.as_path())])
            .find_map(|(directory, place)| {
                let rest = inside.strip_prefix(place).ok()?;
                // Without a slash at its end.
                Some(own.join(directory).join(rest).components().collect())
            })
            .unwrap_or_else(|| inside.to_owned())
    }

    /// The same command inside the host: there it sees the host's files, processes, network and name. Descriptors and limits
    /// are those of the command.
    ///
    /// # Errors
    /// [`LabError::Tool`] when `nsenter` is missing.
    pub fn enter<'k>(&self, command: &CommandSpec<'k>) -> Result<CommandSpec<'k>, LabError> {
        self.namespaces.enter(command)
    }

    /// Runs `virsh` on this machine with the host's [`uri`](Self::uri), in quiet mode, whatever its exit code.
    ///
    /// # Errors
    /// [`LabError::Tool`] when it is missing, [`LabError::Run`] when it does not run to its end.
    pub fn virsh<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Result<Completed, LabError> {
        run(&self.virsh_command()?.args(words))
    }

    fn virsh_command(&self) -> Result<CommandSpec<'static>, LabError> {
        Ok(tool("virsh", "libvirt-clients")?
            .args(["--quiet", "--connect"])
            .arg(self.uri()))
    }

    /// Starts libvirtd. It answers when this returns. One that runs is left alone.
    ///
    /// # Errors
    /// [`LabError::Ended`] or [`LabError::Late`] when it does not, with what it said.
    pub fn start_libvirtd(&self) -> Result<(), LabError> {
        let mut libvirtd = self.libvirtd.lock().unwrap_or_else(PoisonError::into_inner);
        if libvirtd
            .as_ref()
            .is_some_and(|p| !p.ends_within(std::time::Duration::ZERO))
        {
            return Ok(());
        }
        let command = tool("libvirtd", "libvirt-daemon-system")?.args([
            "--listen",
            "--pid-file",
            "/run/libvirt/libvirtd.pid",
        ]);
        // The log inside; with a bind mount it is the same file here.
        let log = self.outside(Path::new(LOG));
        let started = self.namespaces.launch(&command, &log)?;
        let virsh = self.virsh_command()?.arg("uri");
        until(
            "an answer of libvirtd",
            || self.logs(),
            || {
                if started.ends_within(std::time::Duration::ZERO) {
                    return Err(LabError::Ended {
                        what: format!("libvirtd of {}", self.name),
                        log: self.logs(),
                    });
                }
                Ok((run(&virsh)?.code == 0).then_some(()))
            },
        )?;
        *libvirtd = Some(started);
        Ok(())
    }

    /// Ends libvirtd as an administrator does (`SIGTERM`) and starts it again. Guests go on.
    ///
    /// # Errors
    /// As [`start_libvirtd`](Self::start_libvirtd); [`LabError::Late`] when it does not end.
    pub fn restart_libvirtd(&self) -> Result<(), LabError> {
        self.end_libvirtd(Signal::TERM)?;
        self.start_libvirtd()
    }

    /// Kills libvirtd. It is gone when this returns; guests go on, and nobody starts it again but
    /// [`start_libvirtd`](Self::start_libvirtd).
    ///
    /// # Errors
    /// [`LabError::Late`] when it is not gone in time.
    pub fn kill_libvirtd(&self) -> Result<(), LabError> {
        self.end_libvirtd(Signal::KILL)
    }

    fn end_libvirtd(&self, signal: Signal) -> Result<(), LabError> {
        let mut libvirtd = self.libvirtd.lock().unwrap_or_else(PoisonError::into_inner);
        match libvirtd.take() {
            Some(process) => end(&process, signal, "the end of libvirtd", || self.logs()),
            None => Ok(()),
        }
    }

    /// The number of libvirtd's process on this machine, while it runs.
    #[must_use]
    pub fn libvirtd_pid(&self) -> Option<i32> {
        let libvirtd = self.libvirtd.lock().unwrap_or_else(PoisonError::into_inner);
        libvirtd.as_ref().map(Process::pid)
    }

    /// The number of a domain's QEMU on this machine, for looking into `/proc`.
    ///
    /// # Errors
    /// [`LabError::NoDomain`] when it does not run.
    pub fn qemu_pid(&self, domain: &str) -> Result<i32, LabError> {
        self.qemu(domain).map(|process| process.pid())
    }

    /// Kills a domain's QEMU. It is gone when this returns, and libvirtd may not have noticed yet.
    ///
    /// # Errors
    /// [`LabError::NoDomain`] when it does not run, [`LabError::Late`] when it is not gone in time.
    pub fn kill_qemu(&self, domain: &str) -> Result<(), LabError> {
        let process = self.qemu(domain)?;
        end(&process, Signal::KILL, "the end of QEMU", || self.logs())
    }

    fn qemu(&self, domain: &str) -> Result<Process, LabError> {
        let file = self.outside(&Path::new("/run/libvirt/qemu").join(format!("{domain}.pid")));
        let number = fs::read_to_string(file)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        number
            .and_then(|number| self.namespaces.process(number))
            .ok_or_else(|| LabError::NoDomain {
                host: self.name.to_owned(),
                domain: domain.to_owned(),
            })
    }

    /// Captures what goes over a network interface of the host, from now on: [`LINK`](super::LINK) is the one between the
    /// hosts, `lo` the loopback.
    ///
    /// # Errors
    /// [`LabError::Ended`] when tcpdump does not start, with what it said.
    pub fn captured(&self, interface: &str) -> Result<Capture, LabError> {
        Capture::start(&self.namespaces, &self.lab.join(self.name), interface)
    }

    /// The ends of libvirtd's log and of the log of each QEMU, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let own = self.outside(Path::new("/var/log/libvirt"));
        let mut files: Vec<PathBuf> = [own.join("libvirtd.out"), own.join("libvirtd.log")].into();
        files.extend(
            fs::read_dir(own.join("qemu"))
                .into_iter()
                .flatten()
                .flatten()
                .map(|e| e.path()),
        );
        let logs = files.iter().filter(|file| file.is_file());
        logs.map(|file| format!("{}:\n{}\n", file.display(), tail(file)))
            .collect()
    }

    /// Connects it with the other one.
    pub(crate) fn link(&self, other: &Self) -> Result<(), LabError> {
        let ip = || tool("ip", "iproute2");
        // Only the network of the first: the number of the other's process is that of outside.
        let network = format!("--net=/proc/{}/ns/net", self.namespaces.pid());
        let add = tool("nsenter", "util-linux")?
            .arg(network)
            .arg(ip()?.program().path())
            .args([
                "link",
                "add",
                super::LINK,
                "type",
                "veth",
                "peer",
                "name",
                super::LINK,
                "netns",
            ])
            .arg(other.namespaces.pid().to_string());
        succeed(&add)?;
        for (host, address) in [(self, "10.77.0.1/24"), (other, "10.77.0.2/24")] {
            succeed(&host.enter(&ip()?.args(["address", "add", address, "dev", super::LINK]))?)?;
            succeed(&host.enter(&ip()?.args(["link", "set", super::LINK, "up"]))?)?;
        }
        Ok(())
    }
}

impl Drop for Hypervisor {
    fn drop(&mut self) {
        abilities::keep(&self.lab.join(self.name).join("cache"));
    }
}

/// Ends a process and waits until it is gone.
fn end(process: &Process, signal: Signal, what: &str, log: impl Fn() -> String) -> Result<(), LabError> {
    process.signal(signal);
    if process.ends_within(PATIENCE) {
        return Ok(());
    }
    Err(LabError::Late {
        what: what.to_owned(),
        after: PATIENCE,
        log: log(),
    })
}
