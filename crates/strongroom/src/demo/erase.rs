//! Step 8: delete and crypto-erase. What somebody kept of the disks does not open any more.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use strongroom_exec::{CommandSpec, Program, Watch};
use strongroom_passphrase_store::PassphraseStore;
use strongroom_passphrase_store::sqlite::{Database, SqliteStore};
use strongroom_secret::SecretFile;
use strongroom_types::{Call, VolumeId};

use super::Stage;
use super::life::main_pool;
use crate::report::Report;

pub(crate) fn all(stage: &Stage, report: &mut Report) -> Result<()> {
    let control = &stage.session.control;
    let raw: VolumeId = "raw".parse()?;
    let thief = stage.directory.join("thief");
    fs::create_dir(&thief)?;
    let (same_file, header) = (thief.join("same-file"), thief.join("header"));

    let key = report.step("back up a header, and keep what a thief would", |call, checks| {
        let backups = stage.session.state.header_backups()?;
        let backup = control.back_up_header(call, &raw, &backups.join("raw.luks"))?;
        let key = control.with_key(&raw, SecretFile::new)??;
        fs::hard_link(stage.disk(&main_pool()?, "raw")?, &same_file)?;
        fs::copy(&backup.path, &header)?;
        checks.hold(
            opens(stage, call, &same_file, None, &key)?,
            "the key opens the disk",
            "the key does not open the disk",
        )?;
        let detached = opens(stage, call, &same_file, Some(&header), &key)?;
        checks.hold(
            detached,
            "the key opens it by the backup as well",
            "the backup does not open it",
        )?;
        Ok(key)
    })?;
    let records: Vec<_> = ["raw", "root", "data"]
        .into_iter()
        .map(|v| Ok(control.volume(&v.parse()?)?.passphrase))
        .collect::<Result<_>>()?;
    report.step("delete every volume and erase its key", |call, checks| {
        for id in records.iter().flatten() {
            if !database_has(stage, call, id.as_str())? {
                bail!("the search does not find the key record {id} while it is there");
            }
        }
        for volume in ["raw", "root", "data"] {
            let erasure = control.delete_volume(call, &volume.parse()?)?;
            if let Some(left) = erasure.left.first() {
                bail!("{volume}: {left}");
            }
            for destroyed in &erasure.destroyed {
                checks.held(format!("{volume}: {destroyed}"));
            }
        }
        let left = control.volumes()?.len();
        checks.hold(left == 0, "no volume is left", format!("{left} volumes are left"))?;
        let files = stage.volume_files(&main_pool()?)?;
        checks.hold(
            files == 0,
            "the pool is empty",
            format!("{files} files are left in the pool"),
        )
    })?;
    report.step("try to open what was kept", |call, checks| {
        let store = SqliteStore::new(Database::open(stage.session.state.database())?);
        for id in records.iter().flatten() {
            if store.get(id)?.is_some() {
                bail!("the key record {id} is still there");
            }
        }
        checks.held("no stored key is left, for the disks and for the header backup");
        let slots = opens(stage, call, &same_file, None, &key)?;
        checks.hold(
            !slots,
            "the disk's keyslots are gone: even its own key is refused",
            "the key still opens the disk",
        )?;
        let backups = stage.session.state.header_backups()?.read_dir()?.count();
        checks.hold(
            backups == 0,
            "the kept header backup is gone",
            format!("{backups} header backups are left"),
        )?;
        for id in records.iter().flatten() {
            if database_has(stage, call, id.as_str())? {
                bail!("the database still names the key record {id}");
            }
        }
        checks.held("the database has no trace of the key records");
        Ok(())
    })
}

/// Whether a file of the database has this text. A child looks, because the control plane has the database open, and a process that
/// closes a file which it has opened beside SQLite drops the locks that SQLite has on it.
fn database_has(stage: &Stage, call: &Call, text: &str) -> Result<bool> {
    let database = stage.session.state.database();
    let mut log = database.clone().into_os_string();
    log.push("-wal");
    let mut grep =
        CommandSpec::new(Program::find("grep")?).args(["--quiet", "--text", "--fixed-strings", text, "--"]);
    grep.push(&database);
    if Path::new(&log).exists() {
        grep.push(log);
    }
    let done = stage.runner.run(&grep, &Watch::call(call))?;
    match done.code {
        0 => Ok(true),
        1 => Ok(false),
        _ => bail!("cannot search the database: {}", done.message()),
    }
}

/// Whether cryptsetup opens the disk with the key, by its own header or by another.
fn opens(stage: &Stage, call: &Call, disk: &Path, header: Option<&Path>, key: &SecretFile) -> Result<bool> {
    let mut command =
        CommandSpec::new(Program::find("cryptsetup")?).args(["open", "--test-passphrase", "--key-file"]);
    let path = key.path_in_child(|fd| command.pass(fd));
    command.push(path);
    if let Some(header) = header {
        command.push("--header");
        command.push(header);
    }
    command.push(disk);
    let done = stage.runner.run(&command, &Watch::call(call))?;
    Ok(done.code == 0)
}
