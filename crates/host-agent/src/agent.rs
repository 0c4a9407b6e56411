use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use strongroom_endpoint_selector::{Endpoint, EndpointError, ErrorKind, HostAnswer, HostCommand};
use strongroom_exec::Runner;
use strongroom_libvirt::Uri;
use strongroom_types::{Call, CapabilityReport, HostFacts, HostId, PoolId};

use crate::silence::Silence;
use crate::tools::{FILE, ToolPaths, Tools};
use crate::vm::{self, Hypervisor};
use crate::{
    blank, content, create, device, digest, directory, failure, flatten, format, format_qcow2, grow, header,
    inspect, marker, probe, shrink, snapshot, watch,
};

/// An [`Endpoint`] on this machine: carries out commands with `qemu-img` and `cryptsetup`, and those for virtual machines with libvirt.
///
/// Commands may run from several threads at once, for different disks.
#[derive(Debug)]
pub struct HostAgent {
    tools: Arc<Tools>,
    hypervisor: Option<Arc<Hypervisor>>,
    silence: Silence,
    facts: RwLock<HostFacts>,
}

impl HostAgent {
    /// An agent that runs tools through `runner` and finds them by `paths`. It knows of no capability until it was
    /// [probed](Self::probe) or told [what a probe found](Self::restore).
    #[must_use]
    pub fn new(id: HostId, paths: ToolPaths, runner: Arc<dyn Runner>) -> Self {
        Self {
            hypervisor: None,
            silence: Silence::default(),
            tools: Arc::new(Tools::new(paths, runner)),
            facts: RwLock::new(HostFacts::new(id)),
        }
    }

    /// The same, whose virtual machines are those of the libvirt at this URI. It is not spoken to before it is needed. Without this, every
    /// command for a virtual machine is [`Unsupported`](ErrorKind::Unsupported).
    #[must_use]
    pub fn with_hypervisor(mut self, uri: Uri) -> Self {
        self.hypervisor = Some(Arc::new(Hypervisor::new(uri)));
        self
    }

    /// Takes over what an earlier probe found. The host's id and the pools that it reaches stay.
    pub fn restore(&self, earlier: HostFacts) {
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        let (id, pools) = (facts.id.clone(), std::mem::take(&mut facts.pools));
        *facts = earlier;
        facts.id = id;
        facts.pools = pools;
    }

    /// Says that the host reaches the storage of this pool.
    pub fn reach(&self, pool: PoolId) {
        self.facts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .pools
            .insert(pool);
    }

    /// Says that the host does not reach the storage of this pool any more.
    pub fn leave(&self, pool: &PoolId) {
        self.facts
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .pools
            .remove(pool);
    }

    /// Whether it has to be found out (again) what this machine can do: nothing was found out or [taken over](Self::restore), or the file of a tool is another one since:
    /// at another place, or of another inode, size or time. It is not looked into the files.
    #[must_use]
    pub fn needs_probe(&self) -> bool {
        let known = self.host().tools;
        let is_file = |(name, _): &(&String, &String)| name.ends_with(FILE);
        let known: BTreeMap<_, _> = known.iter().filter(is_file).collect();
        let now = self.tools.files();
        known.is_empty() || known != now.iter().collect()
    }

    /// Finds out what this machine can do, by doing each thing on a small image in a directory of its own below `scratch`,
    /// and keeps the answer. Pools, cluster and zone stay as they were.
    ///
    /// # Errors
    /// [`EndpointError`] when the scratch directory cannot be used or the call ends. A tool that is missing, lies, hangs or
    /// crashes is no error: the capabilities that need it are then missing, with the reason.
    pub fn probe(&self, call: &Call, scratch: &Path) -> Result<HostFacts, EndpointError> {
        let probed = probe::probe(&self.tools, self.hypervisor.as_deref(), call, scratch)?;
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        facts.capabilities = probed.capabilities;
        facts.tools = probed.tools;
        facts.free_memory = probed.free_memory;
        facts.free_cores = probed.free_cores;
        Ok(facts.clone())
    }
}

impl Endpoint for HostAgent {
    fn host(&self) -> HostFacts {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        call.check()
            .map_err(|e| failure::interrupted(command.name(), e))?;
        let begun = std::time::Instant::now();
        let (tools, hypervisor) = (self.tools.clone(), self.hypervisor.clone());
        let seen = match command {
            HostCommand::Vm(_) => self.host().capabilities,
            _ => CapabilityReport::new(),
        };
        let answer = watch::run(&self.silence, call, command, move |call, command| match command {
            HostCommand::Vm(command) => vm::run(hypervisor.as_deref(), &tools, call, &seen, command),
            command => dispatch(&tools, call, command),
        });
        let milliseconds = begun.elapsed().as_millis();
        match &answer {
            Ok(_) => tracing::debug!(command = command.name(), milliseconds, "done"),
            Err(e) => tracing::debug!(command = command.name(), milliseconds, error = %e, "failed"),
        }
        answer
    }
}

fn dispatch(tools: &Tools, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
    match command {
        HostCommand::OpenDirectory(c) => directory::open(c.path),
        HostCommand::MarkDirectory(c) => marker::mark(c),
        HostCommand::MakeDirectory(c) => directory::make(c.path),
        HostCommand::ListDirectory(c) => directory::list(c.path),
        HostCommand::IdentifyDevice(c) => device::identify(c.path),
        HostCommand::RescanDevice(c) => device::rescan(tools, call, c.path),
        HostCommand::CreateDisk(c) => create::create(tools, call, c),
        HostCommand::FormatDevice(c) => format::format(tools, call, c),
        HostCommand::FormatQcow2(c) => format_qcow2::format(tools, call, c),
        HostCommand::InspectDisk(c) => inspect::inspect(tools, call, c),
        HostCommand::VerifyDisk(c) => inspect::verify(tools, call, c),
        HostCommand::GrowDisk(c) => grow::grow(tools, call, c),
        HostCommand::ShrinkDisk(c) => shrink::shrink(tools, call, c),
        HostCommand::FlattenDisk(c) => flatten::flatten(tools, call, c),
        HostCommand::SnapshotDisk(c) => snapshot::snapshot(tools, call, c),
        HostCommand::ReplaceContent(c) => content::replace(tools, call, c),
        HostCommand::CompareContent(c) => content::compare(tools, call, c),
        HostCommand::DigestContent(c) => digest::digest(tools, call, c),
        HostCommand::BackUpHeader(c) => header::back_up(tools, call, c),
        HostCommand::EraseKeyslots(c) => header::erase(tools, call, c),
        HostCommand::DeleteDisk(c) => directory::delete(c.path),
        HostCommand::ProveBlank(c) => blank::prove(call, c),
        HostCommand::BlankDevice(c) => blank::blank(call, c),
        HostCommand::SweepStaging(c) => directory::sweep(c.path),
        other => {
            let message = "this agent does not know the command; it is older than whoever asks";
            Err(EndpointError::new(ErrorKind::Unsupported, other.name(), message))
        }
    }
}
