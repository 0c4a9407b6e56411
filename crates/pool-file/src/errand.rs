use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::{
    DirectoryFacts, DiskFacts, Endpoint, EndpointError, HostAnswer, HostCommand, InspectDisk, Need,
    OpenDirectory,
};
use strongroom_storage_pool::{ErrorKind, OpContext, PoolError, Volume};
use strongroom_types::{Call, HostId, VolumeId};

use crate::FilePoolConfig;
use crate::volume_file::VolumeFile;

/// A host that was chosen to do the work of one operation on a pool.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    config: &'a FilePoolConfig,
    operation: &'static str,
    call: &'a Call,
    endpoint: Arc<dyn Endpoint>,
    pub(crate) host: HostId,
}

impl<'a> Errand<'a> {
    /// Chooses a host that meets the need and reaches the pool.
    pub(crate) fn begin(
        config: &'a FilePoolConfig,
        cx: &OpContext<'a>,
        operation: &'static str,
        need: Need,
    ) -> Result<Self, PoolError> {
        let need = need.reaching(config.pool.clone());
        let endpoint = cx
            .endpoints
            .select(&need)
            .map_err(|e| PoolError::no_host(operation, e))?;
        let host = endpoint.host().id;
        Ok(Self {
            config,
            operation,
            call: cx.call,
            endpoint,
            host,
        })
    }

    /// A directory as the host sees it.
    pub(crate) fn look(&self, path: &Path) -> Result<DirectoryFacts, PoolError> {
        match self.endpoint.run(self.call, &OpenDirectory::new(path).into()) {
            Ok(HostAnswer::Directory(facts)) => Ok(facts),
            Ok(other) => Err(self.strange(&other)),
            // A directory that is gone says nothing about whether a volume is.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let message = format!("the directory {} is not there", path.display());
                Err(self.error(ErrorKind::Io, &message))
            }
            Err(e) => Err(self.failed(e)),
        }
    }

    /// An error that says where.
    pub(crate) fn error(&self, kind: ErrorKind, message: &str) -> PoolError {
        let (pool, host) = (&self.config.pool, &self.host);
        PoolError::new(
            kind,
            self.operation,
            format!("pool {pool} on host {host}: {message}"),
        )
    }

    fn failed(&self, error: EndpointError) -> PoolError {
        let (pool, host) = (&self.config.pool, &self.host);
        PoolError::endpoint(self.operation, format!("pool {pool} on host {host}"), error)
    }

    fn strange(&self, answer: &HostAnswer) -> PoolError {
        self.error(
            ErrorKind::Tool,
            &format!("the host gave an answer to another question: {answer:?}"),
        )
    }

    /// Runs a command whose answer says nothing.
    pub(crate) fn run<'c>(&self, command: impl Into<HostCommand<'c>>) -> Result<HostAnswer, PoolError> {
        self.endpoint
            .run(self.call, &command.into())
            .map_err(|e| self.failed(e))
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
        if (facts.format, facts.encryption) == (file.format, file.encryption()) {
            return Ok(facts);
        }
        let message = format!("the host answers that {} is not {file}", facts.location);
        Err(self.error(ErrorKind::WrongDisk, &message))
    }

    /// Looks for the file of a volume under every name that it could have.
    pub(crate) fn find(&self, volume: &VolumeId) -> Result<Option<(VolumeFile, DiskFacts)>, PoolError> {
        let mut found: Option<(VolumeFile, DiskFacts)> = None;
        for file in VolumeFile::ALL {
            let location = file.location(&self.config.directory, volume);
            match self.disk(file, InspectDisk::new(&location, file.format, file.encryption())) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
                Ok(facts) => match found {
                    None => found = Some((file, facts)),
                    Some((_, first)) => {
                        let message = format!(
                            "{} and {location} are both there for volume {volume}; move away the one that is not the volume, \
                             or delete the volume, which removes both",
                            first.location
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
}

/// What a host says of a file as what a pool says of a volume.
pub(crate) fn volume(id: &VolumeId, facts: DiskFacts) -> Volume {
    let mut volume = Volume::new(
        id.clone(),
        facts.format,
        facts.encryption,
        facts.guest,
        facts.device,
    );
    volume.allocated = facts.allocated;
    volume.snapshots = facts.snapshots;
    volume
}
