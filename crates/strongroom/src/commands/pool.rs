use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use serde::Serialize;
use strongroom_control_plane::{NewPool, PoolRecord};
use strongroom_storage_pool::Encryption;
use strongroom_types::{ByteSize, Call, PoolId};

use crate::cli::{Output, Pool};
use crate::commands::absolute;
use crate::drivers::{DIRECTORY, ENCRYPTION, FILE, MOUNT_POINT};
use crate::output::{print, table};
use crate::session::Session;

#[derive(Debug, Serialize)]
struct PoolView {
    id: PoolId,
    kind: String,
    directory: String,
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
        directory: record.settings.get(DIRECTORY).cloned().unwrap_or_default(),
        encryption,
        total: usage.as_ref().ok().map(|u| u.total.get()),
        free: usage.as_ref().ok().map(|u| u.free.get()),
        error: usage.err().map(|e| crate::process::chain(&e.into())),
    }
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
        Pool::Add {
            name,
            directory,
            no_encryption,
        } => {
            let directory = absolute(&directory)?;
            let text = directory
                .to_str()
                .with_context(|| format!("{} is not UTF-8", directory.display()))?;
            let same = |pool: &PoolRecord| pool.settings.get(DIRECTORY).is_some_and(|d| d == text);
            if let Some(other) = session
                .control
                .pools()?
                .iter()
                .find(|pool| same(pool) && pool.id != name)
            {
                bail!("{text} is pool {} already", other.id);
            }
            let encryption = if no_encryption { "no" } else { "yes" };
            let mounted = if is_mount_point(&directory) { "yes" } else { "no" };
            let settings = [
                (DIRECTORY, text),
                (ENCRYPTION, encryption),
                (MOUNT_POINT, mounted),
            ];
            let settings = settings.map(|(k, v)| (k.to_owned(), v.to_owned()));
            session.agent.reach(name.clone());
            let record = session
                .control
                .add_pool(call, &NewPool::new(name, FILE, settings))?;
            let shown = view(session, &record, call);
            return print(output, &shown, |p| listing(std::slice::from_ref(p)));
        }
        Pool::List => session
            .control
            .pools()?
            .iter()
            .map(|record| view(session, record, call))
            .collect(),
    };
    print(output, &pools, |pools| listing(pools))
}

fn listing(pools: &[PoolView]) -> Table {
    let mut table = table(["pool", "kind", "encryption", "free", "total", "directory"]);
    for p in pools {
        let size = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |b| ByteSize::bytes(b).to_string());
        let place = p.error.as_ref().unwrap_or(&p.directory).clone();
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
