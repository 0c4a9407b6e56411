mod check;
mod elsewhere;
mod ownership;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use serde::Serialize;
use strongroom_control_plane::{NewPool, PoolRecord};
use strongroom_endpoint_selector::{Endpoint, HostAnswer, IdentifyDevice};
use strongroom_host_agent::HostAgent;
use strongroom_storage_pool::Encryption;
use strongroom_types::{ByteSize, Call, PoolId};

use crate::cli::{Output, Pool, PoolAdd};
use crate::commands::absolute;
use crate::drivers::{
    BLOCK, DEVICES, DIRECTORY, DISCARD, ENCRYPTION, FILE, ListedDevice, MOUNT_POINT, NFS, PROMISE, SHARED,
    SHELF,
};
use crate::output::{print, table};
use crate::places::Places;
use crate::session::Session;

#[derive(Debug, Serialize)]
struct PoolView {
    id: PoolId,
    kind: String,
    /// The directory, or the devices.
    place: String,
    encryption: String,
    /// All bytes; null when the pool cannot be used.
    total: Option<u64>,
    /// The bytes that can still be written; null when the pool cannot be used.
    free: Option<u64>,
    /// Why the pool cannot be used.
    error: Option<String>,
}

fn view(session: &Session, record: &PoolRecord, call: &Call) -> PoolView {
    let encryption = match session
        .control
        .pool_capabilities(&record.id)
        .map(|c| c.encryption)
    {
        Ok(Encryption::Unsupported) => "none".to_owned(),
        Ok(Encryption::OnHost(format)) => format!("{format} on the host"),
        Ok(Encryption::InStorage) => "in the storage".to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    };
    let usage = session.control.pool_usage(call, &record.id);
    PoolView {
        id: record.id.clone(),
        kind: record.kind.clone(),
        place: place(record),
        encryption,
        total: usage.as_ref().ok().map(|u| u.total.get()),
        free: usage.as_ref().ok().map(|u| u.free.get()),
        error: usage.err().map(|e| crate::process::chain(&e.into())),
    }
}

fn place(record: &PoolRecord) -> String {
    if let Some(directory) = record.settings.get(DIRECTORY) {
        return directory.clone();
    }
    let list = record.settings.get(DEVICES).map(String::as_str).unwrap_or("[]");
    let devices: Vec<ListedDevice> = serde_json::from_str(list).unwrap_or_default();
    let paths: Vec<_> = devices.into_iter().map(|device| device.path).collect();
    paths.join(", ")
}

/// Whether a file system is mounted on the directory. Where one is now, its absence later means that the volumes are away and
/// not that there are none.
fn is_mount_point(directory: &Path) -> bool {
    let device = |path: &Path| path.metadata().map(|m| m.dev());
    match (device(directory), device(&directory.join(".."))) {
        (Ok(own), Ok(parent)) => own != parent,
        _ => false,
    }
}

pub(super) fn run(session: &Session, command: Pool, output: Output, call: &Call) -> Result<()> {
    let pools: Vec<_> = match command {
        Pool::Add(pool) => {
            let shown = add(session, pool, call)?;
            return print(output, &shown, |p| listing(std::slice::from_ref(p)));
        }
        Pool::Check(check) => return check::run(session, &check, output, call),
        Pool::Remove { name, keep_copies } => {
            remove(session, &name, keep_copies, call)?;
            views(session, call)?
        }
        Pool::TakeOver { name } => {
            ownership::take_over(session, &name, call)?;
            views(session, call)?
        }
        Pool::List => views(session, call)?,
    };
    print(output, &pools, |pools| listing(pools))
}

fn views(session: &Session, call: &Call) -> Result<Vec<PoolView>> {
    let pools = session.control.pools()?;
    Ok(pools.iter().map(|record| view(session, record, call)).collect())
}

fn remove(session: &Session, name: &PoolId, keep_copies: bool, call: &Call) -> Result<()> {
    let pools = session.control.pools()?;
    session.control.remove_pool(call, name, keep_copies)?;
    let mut remote = session.remote_hosts()?;
    if remote.have(name) {
        remote.give(name, &[]);
        remote
            .write(session.state.path())
            .with_context(|| format!("pool {name} is removed, but its hosts still have it"))?;
    }
    // Which volume had which device is of no use without the pool, and would be taken for that of another pool of this name.
    let shelf = pools.iter().find(|pool| pool.id == *name);
    if let Some(shelf) = shelf.and_then(|pool| pool.settings.get(SHELF)) {
        match fs::remove_file(shelf) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("pool {name} is removed, but not its record {shelf}"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn add(session: &Session, pool: PoolAdd, call: &Call) -> Result<PoolView> {
    let new = match &pool.directory {
        Some(directory) if !pool.host.is_empty() => NewPool::new(
            pool.name.clone(),
            FILE,
            elsewhere::settings(session, &pool, directory, call)?,
        ),
        Some(directory) => NewPool::new(
            pool.name.clone(),
            FILE,
            directory_settings(session, &pool, directory)?,
        ),
        None => NewPool::new(pool.name.clone(), BLOCK, device_settings(session, &pool, call)?),
    };
    let before = session.remote_hosts()?;
    let is_new = !session.control.pools()?.iter().any(|known| known.id == pool.name);
    if is_new {
        session.give_pool(&pool.host, &pool.name)?;
    }
    if let (true, Some(directory)) = (pool.take_over, new.settings.get(DIRECTORY)) {
        ownership::take(session, &pool.name, Path::new(directory), call)?;
    }
    match session.control.add_pool(call, &new) {
        Ok(record) => Ok(view(session, &record, call)),
        Err(e) => {
            if is_new {
                before.write(session.state.path())?;
            }
            Err(e.into())
        }
    }
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn text(path: &Path) -> Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}

fn directory_settings(
    session: &Session,
    pool: &PoolAdd,
    directory: &Path,
) -> Result<BTreeMap<String, String>> {
    let directory = absolute(directory)?;
    let text = text(&directory)?;
    let remote = session.remote_hosts()?;
    let same = |other: &PoolRecord| other.settings.get(DIRECTORY) == Some(&text) && !remote.have(&other.id);
    let pools = session.control.pools()?;
    if let Some(other) = pools.iter().find(|other| same(other) && other.id != pool.name) {
        bail!("{text} is pool {} already", other.id);
    }
    Places::of(session)?.refuse_pool(&directory, &pool.name)?;
    Ok(file_settings(pool, text, is_mount_point(&directory)))
}

/// The settings of a pool in a directory, wherever that is.
fn file_settings(pool: &PoolAdd, directory: String, is_mount_point: bool) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::from([
        (DIRECTORY.to_owned(), directory),
        (ENCRYPTION.to_owned(), yes_or_no(!pool.no_encryption)),
        (MOUNT_POINT.to_owned(), yes_or_no(is_mount_point)),
        (SHARED.to_owned(), yes_or_no(pool.shared)),
        (DISCARD.to_owned(), yes_or_no(pool.discard)),
    ]);
    if let Some(export) = &pool.nfs {
        settings.insert(NFS.to_owned(), export.clone());
    }
    if let Some(percent) = pool.promise {
        settings.insert(PROMISE.to_owned(), percent.to_string());
    }
    settings
}

/// Asks this machine which devices these are: from then on they are known by their sizes and serial numbers.
fn device_settings(session: &Session, pool: &PoolAdd, call: &Call) -> Result<BTreeMap<String, String>> {
    let taken = devices_of_pools(session)?;
    let mut devices = Vec::new();
    for path in &pool.device {
        let path = absolute(path)?;
        let device = listed(session.agent.as_ref(), call, &path)?;
        let same =
            |d: &ListedDevice| d.path == device.path || (d.serial.is_some() && d.serial == device.serial);
        if let Some((other, _)) = taken.iter().find(|(other, d)| *other != pool.name && same(d)) {
            bail!("{} belongs to pool {other} already", device.path);
        }
        devices.push(device);
    }
    let shelf = session.state.shelves()?.join(format!("{}.shelf", pool.name));
    Ok(BTreeMap::from([
        (DEVICES.to_owned(), serde_json::to_string(&devices)?),
        (SHELF.to_owned(), text(&shelf)?),
        (ENCRYPTION.to_owned(), yes_or_no(!pool.no_encryption)),
    ]))
}

/// A block device as this machine says that it is.
pub(crate) fn listed(agent: &HostAgent, call: &Call, path: &Path) -> Result<ListedDevice> {
    let answer = agent.run(call, &IdentifyDevice::new(path).into())?;
    let HostAnswer::Device(facts) = answer else {
        bail!("this machine does not say which device {} is", path.display());
    };
    Ok(ListedDevice {
        path: text(path)?,
        size: facts.size,
        serial: facts.serial,
    })
}

/// The devices that pools have already.
fn devices_of_pools(session: &Session) -> Result<Vec<(PoolId, ListedDevice)>> {
    let mut all = Vec::new();
    for pool in session.control.pools()? {
        if let Some(list) = pool.settings.get(DEVICES) {
            let devices: Vec<ListedDevice> = serde_json::from_str(list)
                .with_context(|| format!("the list of devices of pool {} is damaged", pool.id))?;
            all.extend(devices.into_iter().map(|device| (pool.id.clone(), device)));
        }
    }
    Ok(all)
}

fn listing(pools: &[PoolView]) -> Table {
    let mut table = table(["pool", "kind", "encryption", "free", "total", "place"]);
    for p in pools {
        let size = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |b| ByteSize::bytes(b).to_string());
        let place = p.error.as_ref().unwrap_or(&p.place).clone();
        table.add_row([
            p.id.to_string(),
            p.kind.clone(),
            p.encryption.clone(),
            size(p.free),
            size(p.total),
            place,
        ]);
    }
    table
}
