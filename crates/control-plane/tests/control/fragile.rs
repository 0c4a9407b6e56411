//! A driver and a host that fail, or die, at a chosen moment.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

use strongroom_control_plane::ControlPlane;
use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{Endpoint, EndpointError, ErrorKind, HostAnswer, HostCommand};
use strongroom_storage_pool::{
    Attachment, Capabilities, CloneVolume, CreateVolume, FlattenVolume, OpContext, PoolDriver, PoolError,
    PoolUsage, ResizeVolume, SnapshotVolume, Volume,
};
use strongroom_types::{Call, HostFacts, HostId, PoolId, TemplateId, VolumeId};

/// What happens when the fuse burns down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Burn {
    /// The process dies: nothing of the program runs any more.
    Kill,
    /// This one call fails.
    Fail(ErrorKind),
    /// This call and every later one fail.
    Cut(ErrorKind),
}

/// Counts the moments before and after every call of a driver and every command of a host.
#[derive(Default)]
pub(crate) struct Fuse {
    burning: Mutex<Option<(u32, Burn)>>,
    trap: Mutex<Option<&'static str>>,
    /// Tells whoever waits for the work that it was killed.
    killed: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl fmt::Debug for Fuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fuse")
    }
}

impl Fuse {
    /// Lets `moments` pass; at the next one it burns.
    pub(crate) fn light(&self, moments: u32, burn: Burn) {
        *self.burning.lock().unwrap() = Some((moments, burn));
    }

    /// Kills right after the next command of this name.
    pub(crate) fn kill_after(&self, command: &'static str) {
        *self.trap.lock().unwrap() = Some(command);
    }

    fn done(&self, command: &'static str) {
        let mut trap = self.trap.lock().unwrap();
        if *trap == Some(command) {
            *trap = None;
            drop(trap);
            self.die();
        }
    }

    /// Puts it out, and says whether it had burnt.
    pub(crate) fn put_out(&self) -> bool {
        matches!(self.burning.lock().unwrap().take(), Some((0, _)))
    }

    /// Runs work that a lit fuse may kill; `None` when it did. What is killed stands still for ever: nothing of it runs any more, not
    /// even a destructor, and no transaction is open.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        control: &Arc<ControlPlane>,
        work: impl FnOnce(&ControlPlane) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = mpsc::channel();
        let killed = sender.clone();
        *self.killed.lock().unwrap() = Some(Box::new(move || drop(killed.send(Ok(None)))));
        let control = control.clone();
        std::thread::spawn(move || {
            let done = catch_unwind(AssertUnwindSafe(|| work(&control)));
            drop(control);
            drop(sender.send(done.map(Some)));
        });
        let done = receiver.recv().unwrap();
        *self.killed.lock().unwrap() = None;
        done.unwrap_or_else(|payload| resume_unwind(payload))
    }

    fn die(&self) -> ! {
        let killed = self.killed.lock().unwrap().take();
        killed.expect("a fuse that kills burns in `run`")();
        loop {
            std::thread::park();
        }
    }

    fn tick(&self) -> Result<(), ErrorKind> {
        let mut state = self.burning.lock().unwrap();
        match *state {
            None => Ok(()),
            Some((0, Burn::Cut(kind))) => Err(kind),
            // One failure only: the fuse stays, burnt, at a count that no moment reaches.
            Some((0, _)) => Ok(()),
            Some((1, burn)) => {
                *state = Some((0, burn));
                drop(state);
                match burn {
                    Burn::Kill => self.die(),
                    Burn::Fail(kind) | Burn::Cut(kind) => Err(kind),
                }
            }
            Some((moments, burn)) => {
                *state = Some((moments - 1, burn));
                Ok(())
            }
        }
    }
}

/// A host in memory on a fuse.
#[derive(Debug)]
pub(crate) struct FragileHost {
    pub(crate) inner: MemoryEndpoint,
    pub(crate) fuse: Arc<Fuse>,
    /// The header backups that are there.
    pub(crate) backups: Mutex<BTreeSet<PathBuf>>,
}

impl FragileHost {
    /// Whether the command looked at a header backup. The host in memory has no disk there; a real one has a file, which is no disk.
    fn is_header(&self, command: &HostCommand<'_>, error: &EndpointError) -> bool {
        let HostCommand::InspectDisk(look) = command else {
            return false;
        };
        error.kind() == ErrorKind::NotFound && self.backups.lock().unwrap().contains(look.location.path())
    }
}

impl Endpoint for FragileHost {
    fn host(&self) -> HostFacts {
        self.inner.host()
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        let fail = |kind| EndpointError::new(kind, command.name(), "the fuse burnt down");
        self.fuse.tick().map_err(fail)?;
        let answer = match self.inner.run(call, command) {
            Err(error) if self.is_header(command, &error) => {
                let message = "a header alone is no disk";
                return Err(EndpointError::new(ErrorKind::WrongDisk, command.name(), message));
            }
            answer => answer?,
        };
        match command {
            HostCommand::BackUpHeader(c) => drop(self.backups.lock().unwrap().insert(c.to.to_owned())),
            HostCommand::DeleteDisk(c) => drop(self.backups.lock().unwrap().remove(c.path)),
            _ => {}
        }
        self.fuse.done(command.name());
        self.fuse.tick().map_err(fail)?;
        Ok(answer)
    }
}

/// A driver on a fuse.
#[derive(Debug)]
pub(crate) struct FragileDriver {
    pub(crate) inner: Arc<dyn PoolDriver>,
    pub(crate) fuse: Arc<Fuse>,
}

impl FragileDriver {
    fn on_fuse<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        let fail = |kind| PoolError::new(kind, operation, "the fuse burnt down");
        self.fuse.tick().map_err(fail)?;
        let done = work()?;
        self.fuse.tick().map_err(fail)?;
        Ok(done)
    }
}

impl PoolDriver for FragileDriver {
    fn pool(&self) -> &PoolId {
        self.inner.pool()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn prepare(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.on_fuse("prepare", || self.inner.prepare(cx))
    }
    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        self.on_fuse("usage", || self.inner.usage(cx))
    }
    fn create(&self, cx: &OpContext<'_>, request: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        self.on_fuse("create", || self.inner.create(cx, request))
    }
    fn delete(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<(), PoolError> {
        self.on_fuse("delete", || self.inner.delete(cx, volume))
    }
    fn get(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<Option<Volume>, PoolError> {
        self.on_fuse("get", || self.inner.get(cx, volume))
    }
    fn attach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<Attachment, PoolError> {
        self.on_fuse("attach", || self.inner.attach(cx, volume, host))
    }
    fn detach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
        self.on_fuse("detach", || self.inner.detach(cx, volume, host))
    }
    fn grow(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        self.on_fuse("grow", || self.inner.grow(cx, request))
    }
    fn shrink(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        self.on_fuse("shrink", || self.inner.shrink(cx, request))
    }
    fn clone_volume(&self, cx: &OpContext<'_>, request: &CloneVolume<'_>) -> Result<Volume, PoolError> {
        self.on_fuse("clone_volume", || self.inner.clone_volume(cx, request))
    }
    fn flatten(&self, cx: &OpContext<'_>, request: &FlattenVolume<'_>) -> Result<Volume, PoolError> {
        self.on_fuse("flatten", || self.inner.flatten(cx, request))
    }
    fn forget_template(&self, cx: &OpContext<'_>, template: &TemplateId) -> Result<(), PoolError> {
        self.on_fuse("forget_template", || self.inner.forget_template(cx, template))
    }
    fn snapshot(&self, cx: &OpContext<'_>, request: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        self.on_fuse("snapshot", || self.inner.snapshot(cx, request))
    }
    fn recover(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.on_fuse("recover", || self.inner.recover(cx))
    }
}
