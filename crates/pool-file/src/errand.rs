use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::{
    DirectoryFacts, DiskFacts, Endpoint, EndpointError, HostAnswer, HostCommand, InspectDisk, ListDirectory,
    Need, OpenDirectory,
};
use strongroom_storage_pool::{ErrorKind, OpContext, PoolError, Volume};
use strongroom_types::{Call, Capability, HostId, VolumeId};

use crate::FilePoolConfig;
use crate::expectation::{self, Access};
use crate::template_copy::template_of;
use crate::volume_file::VolumeFile;

/// A host that was chosen to do the work of one operation on a pool, and that found the directory as it should be.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    pub(crate) config: &'a FilePoolConfig,
    pub(crate) operation: &'static str,
    pub(crate) call: &'a Call,
    endpoint: Arc<dyn Endpoint>,
    host: HostId,
    access: Access,
    /// What the host saw of the directory when the work began.
    pub(crate) directory: DirectoryFacts,
}

impl<'a> Errand<'a> {
    /// Chooses a host that meets the need, reaches the pool and finds its directory as it should be.
    ///
    /// Of a pool that several hosts reach, a host that does not find it so, or whose mount hangs, is passed over while there is
    /// another one.
    pub(crate) fn begin(
        config: &'a FilePoolConfig,
        cx: &OpContext<'a>,
        operation: &'static str,
        need: Need,
        access: Access,
    ) -> Result<Self, PoolError> {
        let mut need = need.reaching(config.pool.clone());
        let mut first = None;
        loop {
            let endpoint = match cx.endpoints.select(&need) {
                Ok(endpoint) if !need.exclude.contains(&endpoint.host().id) => endpoint,
                Ok(_) => return Err(no_other(operation, first)),
                Err(none) if first.is_none() => return Err(PoolError::no_host(operation, none)),
                Err(_) => return Err(no_other(operation, first)),
            };
            let host = endpoint.host().id;
            let at = At {
                config,
                operation,
                host: &host,
            };
            match at.look(cx.call, &endpoint, access) {
                Ok(directory) => {
                    return Ok(Self {
                        config,
                        operation,
                        call: cx.call,
                        endpoint,
                        host,
                        access,
                        directory,
                    });
                }
                Err(e) if !config.shared() || cx.call.check().is_err() => return Err(e),
                Err(e) => {
                    tracing::warn!(pool = %config.pool, %host, operation, error = %e, "passed over a host");
                    first.get_or_insert(e);
                    need = need.not_on(host);
                }
            }
        }
    }

    /// This host if it is able to do it, else one that is.
    pub(crate) fn able_to(self, cx: &OpContext<'a>, capability: Capability) -> Result<Self, PoolError> {
        if self.endpoint.host().capabilities.has(capability) {
            return Ok(self);
        }
        let need = Need::any().able_to(capability);
        Self::begin(self.config, cx, self.operation, need, self.access)
    }

    fn at(&self) -> At<'_> {
        At {
            config: self.config,
            operation: self.operation,
            host: &self.host,
        }
    }

    /// An error that says where.
    pub(crate) fn error(&self, kind: ErrorKind, message: &str) -> PoolError {
        self.at().error(kind, message)
    }

    pub(crate) fn strange(&self, answer: &HostAnswer) -> PoolError {
        self.at().strange(answer)
    }

    /// Has the host carry out a command.
    pub(crate) fn run<'c>(&self, command: impl Into<HostCommand<'c>>) -> Result<HostAnswer, PoolError> {
        self.endpoint
            .run(self.call, &command.into())
            .map_err(|e| self.at().failed(e))
    }

    /// The names of the files in a directory.
    pub(crate) fn names(&self, directory: &Path) -> Result<Vec<String>, PoolError> {
        match self.run(ListDirectory::new(directory))? {
            HostAnswer::Names(names) => Ok(names),
            other => Err(self.strange(&other)),
        }
    }

    /// Runs a command on the file of a volume and takes only an answer that says the file is what it should be.
    pub(crate) fn disk<'c>(
        &self,
        file: VolumeFile,
        command: impl Into<HostCommand<'c>>,
    ) -> Result<DiskFacts, PoolError> {
        let facts = match self.run(command)? {
            HostAnswer::Disk(facts) => facts,
            HostAnswer::Verified(verified) => verified.facts,
            other => return Err(self.strange(&other)),
        };
        let base = file.overlay || facts.base.is_none();
        if (facts.format, facts.encryption) == (file.format, file.encryption()) && base {
            return Ok(facts);
        }
        let message = format!("the host answers that {} is not {file}", facts.location);
        Err(self.error(ErrorKind::WrongDisk, &message))
    }

    /// Reads the header of the file of a volume.
    pub(crate) fn inspect(&self, file: VolumeFile, volume: &VolumeId) -> Result<DiskFacts, PoolError> {
        let location = file.location(&self.config.directory, volume);
        let templates = self.config.templates();
        let base_in = file.overlay.then_some(templates.as_path());
        let inspect = InspectDisk::new(&location, file.format, file.encryption()).base_in(base_in);
        self.disk(file, inspect)
    }

    /// Looks for the file of a volume under every name that it could have.
    pub(crate) fn find(&self, volume: &VolumeId) -> Result<Option<(VolumeFile, DiskFacts)>, PoolError> {
        let mut found: Option<(VolumeFile, DiskFacts)> = None;
        for file in VolumeFile::ALL {
            match self.inspect(file, volume) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
                Ok(facts) => match found {
                    None => found = Some((file, facts)),
                    Some((_, first)) => {
                        let message = format!(
                            "{} and {} are both there for volume {volume}; move away the one that is not the volume, \
                             or delete the volume, which removes both",
                            first.location, facts.location
                        );
                        return Err(self.error(ErrorKind::WrongDisk, &message));
                    }
                },
            }
        }
        Ok(found)
    }

    /// The file of a volume that must be there.
    pub(crate) fn existing(&self, volume: &VolumeId) -> Result<(VolumeFile, DiskFacts), PoolError> {
        self.find(volume)?.ok_or_else(|| {
            let message = format!(
                "there is no volume {volume} in {}",
                self.config.directory.display()
            );
            self.error(ErrorKind::NotFound, &message)
        })
    }

    /// What a host says of a file as what a pool says of a volume.
    pub(crate) fn volume(&self, id: &VolumeId, facts: DiskFacts) -> Result<Volume, PoolError> {
        let template = template_of(&facts).map_err(|problem| self.error(ErrorKind::WrongDisk, &problem))?;
        let mut volume = Volume::new(
            id.clone(),
            facts.format,
            facts.encryption,
            facts.guest,
            facts.device,
        );
        volume.allocated = facts.allocated;
        volume.snapshots = facts.snapshots;
        volume.overlay_of = template;
        Ok(volume)
    }
}

/// No host that is left will do: what the first one found says why.
fn no_other(operation: &'static str, first: Option<PoolError>) -> PoolError {
    match first {
        Some(error) => error,
        None => PoolError::new(
            ErrorKind::NoHost,
            operation,
            "the selector offers a host that was ruled out",
        ),
    }
}

/// Who does what where, for messages.
struct At<'e> {
    config: &'e FilePoolConfig,
    operation: &'static str,
    host: &'e HostId,
}

impl At<'_> {
    /// The pool's directory, if it is what it should be.
    fn look(
        &self,
        call: &Call,
        endpoint: &Arc<dyn Endpoint>,
        access: Access,
    ) -> Result<DirectoryFacts, PoolError> {
        let path = &self.config.directory;
        let facts = match endpoint.run(call, &OpenDirectory::new(path).into()) {
            Ok(HostAnswer::Directory(facts)) => facts,
            Ok(other) => return Err(self.strange(&other)),
            // A directory that is gone says nothing about whether a volume is.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let message = format!("the directory {} is not there", path.display());
                return Err(self.error(ErrorKind::Io, &message));
            }
            Err(e) => return Err(self.failed(e)),
        };
        expectation::check(self.config, &facts, access)
            .map_err(|unfit| self.error(unfit.kind, &unfit.message))?;
        Ok(facts)
    }

    fn error(&self, kind: ErrorKind, message: &str) -> PoolError {
        let (pool, host) = (&self.config.pool, self.host);
        PoolError::new(
            kind,
            self.operation,
            format!("pool {pool} on host {host}: {message}"),
        )
    }

    fn failed(&self, error: EndpointError) -> PoolError {
        let (pool, host) = (&self.config.pool, self.host);
        PoolError::endpoint(self.operation, format!("pool {pool} on host {host}"), error)
    }

    pub(crate) fn strange(&self, answer: &HostAnswer) -> PoolError {
        self.error(
            ErrorKind::Tool,
            &format!("the host gave an answer to another question: {answer:?}"),
        )
    }
}
