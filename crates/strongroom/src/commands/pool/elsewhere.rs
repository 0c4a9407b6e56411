//! A pool whose directory is on other hosts: they are asked, and not this machine.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use strongroom_endpoint_selector::{Endpoint, HostAnswer, OpenDirectory};
use strongroom_types::{Call, HostId};

use crate::cli::PoolAdd;
use crate::drivers::DIRECTORY;
use crate::session::Session;

/// The settings of the pool, after each of its hosts was asked for the directory.
pub(super) fn settings(
    session: &Session,
    pool: &PoolAdd,
    directory: &Path,
    call: &Call,
) -> Result<BTreeMap<String, String>> {
    if !directory.is_absolute() {
        bail!(
            "{} is on another host; name it from the root",
            directory.display()
        );
    }
    if pool.host.len() > 1 && !pool.shared && pool.nfs.is_none() {
        bail!(
            "several hosts reach pool {}, so that it is on storage that they share; say --shared, or --nfs SERVER:/PATH",
            pool.name
        );
    }
    refuse_overlap(session, pool, directory)?;
    let mut is_mount_point = true;
    for host in &pool.host {
        is_mount_point &= is_mount_point_on(session, host, directory, call)?;
    }
    let text = super::text(directory)?;
    Ok(super::file_settings(pool, text, is_mount_point))
}

/// Whether the directory is there, can be written, and a file system is mounted on it.
fn is_mount_point_on(session: &Session, host: &HostId, directory: &Path, call: &Call) -> Result<bool> {
    let endpoint = session.host_elsewhere(host)?;
    let answer = endpoint
        .run(call, &OpenDirectory::new(directory).into())
        .with_context(|| format!("host {host} cannot use {}", directory.display()))?;
    let HostAnswer::Directory(facts) = answer else {
        bail!("host {host} does not say what {} is", directory.display());
    };
    if !facts.writable {
        bail!("host {host} cannot write to {}", directory.display());
    }
    Ok(facts.mount.is_some_and(|mount| mount.point == facts.path))
}

/// No pool of the same hosts lies in the directory, or around it.
fn refuse_overlap(session: &Session, pool: &PoolAdd, directory: &Path) -> Result<()> {
    let remote = session.remote_hosts()?;
    for other in session.control.pools()? {
        let (Some(place), false) = (other.settings.get(DIRECTORY), other.id == pool.name) else {
            continue;
        };
        let reaches = |host: &HostId| remote.0.get(host).is_some_and(|h| h.pools.contains(&other.id));
        let is_near = Path::new(place).starts_with(directory) || directory.starts_with(place);
        if let (true, Some(host)) = (is_near, pool.host.iter().find(|host| reaches(host))) {
            bail!(
                "host {host} has pool {} in {place}; give each pool a directory of its own, beside the others",
                other.id
            );
        }
    }
    Ok(())
}
