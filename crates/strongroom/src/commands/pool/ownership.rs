//! Whose a pool's directory is, among installations.

use std::path::Path;

use anyhow::{Result, bail};
use strongroom_control_plane::ControlPlaneError;
use strongroom_endpoint_selector::{HostAnswer, MarkDirectory, OpenDirectory};
use strongroom_types::{Call, PoolId};

use crate::drivers::DIRECTORY;
use crate::session::Session;

/// Marks the directory of a pool that is recorded as this installation's.
pub(super) fn take_over(session: &Session, name: &PoolId, call: &Call) -> Result<()> {
    let pools = session.control.pools()?;
    let Some(pool) = pools.iter().find(|pool| pool.id == *name) else {
        let unknown = ControlPlaneError::Unknown {
            what: "pool",
            id: name.to_string(),
        };
        return Err(unknown.into());
    };
    match pool.settings.get(DIRECTORY) {
        Some(directory) => take(session, name, Path::new(directory), call),
        None => bail!("pool {name} has no directory; its devices are known by the state directory alone"),
    }
}

/// Marks a directory that is another installation's as this one's. One that is marked for no pool, or for one of another name, stays
/// as it is.
pub(super) fn take(session: &Session, name: &PoolId, directory: &Path, call: &Call) -> Result<()> {
    let host = session.host_of(name)?;
    let answer = host.run(call, &OpenDirectory::new(directory).into())?;
    let HostAnswer::Directory(facts) = answer else {
        bail!(
            "host {} does not say what {} is",
            host.host().id,
            directory.display()
        );
    };
    if facts.pool.as_ref() != Some(name) {
        return Ok(());
    }
    let own = session.control.installation()?;
    let mark = MarkDirectory::new(directory, name)
        .owner(Some(&own))
        .take_over(true);
    host.run(call, &mark.into())?;
    if let Some(other) = facts.owner.filter(|owner| *owner != own) {
        tracing::warn!(pool = %name, directory = %directory.display(), %other, "taken over from another installation");
    }
    Ok(())
}
