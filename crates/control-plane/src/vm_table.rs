use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use strongroom_types::{ByteSize, DiskTarget, HostId, VmId, VolumeId};

use crate::row::{self, Failure, RowName, is_constraint};
use crate::{ControlPlaneError, VmDiskRecord, VmRecord, VmStatus};

const COLUMNS: &str =
    "SELECT v.id, v.memory, v.cores, v.boot, v.console, v.host, j.kind, j.failure IS NOT NULL
    FROM vms v LEFT JOIN vm_jobs j ON j.vm = v.id";

struct Stored {
    id: String,
    memory: i64,
    cores: i64,
    boot: String,
    console: Option<String>,
    host: Option<String>,
    job: Option<String>,
    failed: bool,
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        id: row.get(0)?,
        memory: row.get(1)?,
        cores: row.get(2)?,
        boot: row.get(3)?,
        console: row.get(4)?,
        host: row.get(5)?,
        job: row.get(6)?,
        failed: row.get(7)?,
    })
}

fn name(id: &str) -> RowName<'_> {
    RowName { table: "vms", id }
}

fn record(connection: &Connection, stored: Stored) -> Result<VmRecord, Failure> {
    let row = name(&stored.id);
    let host: Option<HostId> = stored.host.map(|host| row.parse("host", &host)).transpose()?;
    let job = stored.job.map(|kind| row.parse("job", &kind)).transpose()?;
    let status = match (job, &host) {
        (Some(job), _) if stored.failed => VmStatus::Failed(job),
        (Some(job), _) => VmStatus::Working(job),
        (None, Some(_)) => VmStatus::Running,
        (None, None) => VmStatus::Stopped,
    };
    let id: VmId = row.parse("id", &stored.id)?;
    Ok(VmRecord {
        status,
        host,
        memory: ByteSize::bytes(
            u64::try_from(stored.memory).map_err(|e| row.damaged(format!("memory: {e}")))?,
        ),
        cores: u32::try_from(stored.cores).map_err(|e| row.damaged(format!("cores: {e}")))?,
        boot: row.json("boot", &stored.boot)?,
        console: stored.console.map(PathBuf::from),
        disks: disks(connection, &id)?,
        id,
    })
}

/// By length first: vdz comes before vdaa.
fn disks(connection: &Connection, vm: &VmId) -> Result<Vec<VmDiskRecord>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT target, volume, read_only FROM vm_disks WHERE vm = ?1 ORDER BY length(target), target",
    )?;
    let rows: Vec<(String, String, bool)> = statement
        .query_map([vm.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    rows.iter()
        .map(|(target, volume, read_only)| {
            let row = disk_name(vm);
            Ok(VmDiskRecord {
                target: row.parse("target", target)?,
                volume: row.parse("volume", volume)?,
                read_only: *read_only,
            })
        })
        .collect()
}

fn disk_name(vm: &VmId) -> RowName<'_> {
    RowName {
        table: "vm_disks",
        id: vm.as_str(),
    }
}

pub(crate) fn list(connection: &Connection) -> Result<Vec<VmRecord>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY v.id"))?;
    let rows: Vec<_> = statement
        .query_map([], stored)?
        .collect::<rusqlite::Result<_>>()?;
    rows.into_iter().map(|row| record(connection, row)).collect()
}

pub(crate) fn get(connection: &Connection, id: &VmId) -> Result<VmRecord, Failure> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE v.id = ?1"))?;
    let row = statement.query_row([id.as_str()], stored).optional()?;
    let unknown = || ControlPlaneError::Unknown {
        what: "virtual machine",
        id: id.to_string(),
    };
    record(connection, row.ok_or_else(unknown)?)
}

pub(crate) fn insert(transaction: &Transaction<'_>, vm: &VmRecord) -> Result<(), Failure> {
    let name = name(vm.id.as_str());
    let boot = serde_json::to_string(&vm.boot).map_err(|e| name.damaged(e))?;
    let console = vm.console.as_ref().and_then(|path| path.to_str());
    let row = (
        vm.id.as_str(),
        row::stored(vm.memory.get()),
        vm.cores,
        boot,
        console,
    );
    match transaction.execute(
        "INSERT INTO vms (id, memory, cores, boot, console) VALUES (?1, ?2, ?3, ?4, ?5)",
        row,
    ) {
        Err(e) if is_constraint(&e) => Err(ControlPlaneError::Taken {
            what: "virtual machine",
            id: vm.id.to_string(),
        }
        .into()),
        done => done.map(drop).map_err(Failure::from),
    }
}

pub(crate) fn set_host(
    transaction: &Transaction<'_>,
    vm: &VmId,
    host: Option<&HostId>,
) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE vms SET host = ?2 WHERE id = ?1",
        (vm.as_str(), host.map(HostId::as_str)),
    )?;
    Ok(())
}

pub(crate) fn insert_disk(
    transaction: &Transaction<'_>,
    vm: &VmId,
    disk: &VmDiskRecord,
) -> Result<(), Failure> {
    transaction.execute(
        "INSERT INTO vm_disks (vm, target, volume, read_only) VALUES (?1, ?2, ?3, ?4)",
        (
            vm.as_str(),
            disk.target.as_str(),
            disk.volume.as_str(),
            disk.read_only,
        ),
    )?;
    Ok(())
}

pub(crate) fn remove_disk(
    transaction: &Transaction<'_>,
    vm: &VmId,
    target: &DiskTarget,
) -> Result<(), Failure> {
    transaction.execute(
        "DELETE FROM vm_disks WHERE vm = ?1 AND target = ?2",
        (vm.as_str(), target.as_str()),
    )?;
    Ok(())
}

/// Which virtual machine has the volume, as which disk, and where it runs, if it does.
pub(crate) fn with_volume(
    connection: &Connection,
    volume: &VolumeId,
) -> Result<Option<(VmId, DiskTarget, Option<HostId>)>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT d.vm, d.target, v.host FROM vm_disks d JOIN vms v ON v.id = d.vm WHERE d.volume = ?1",
    )?;
    let found: Option<(String, String, Option<String>)> = statement
        .query_row([volume.as_str()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((vm, target, host)) = found else {
        return Ok(None);
    };
    let row = name(&vm);
    Ok(Some((
        row.parse("id", &vm)?,
        row.parse("target", &target)?,
        host.map(|host| row.parse("host", &host)).transpose()?,
    )))
}

pub(crate) fn forget(transaction: &Transaction<'_>, vm: &VmId) -> Result<(), Failure> {
    transaction.execute("DELETE FROM vm_disks WHERE vm = ?1", [vm.as_str()])?;
    transaction.execute("DELETE FROM vms WHERE id = ?1", [vm.as_str()])?;
    Ok(())
}
