//! Step 7: what must be refused is refused, and says why.

use std::fs;

use anyhow::{Result, bail};
use strongroom_control_plane::{ControlPlaneError, NewVolume};
use strongroom_endpoint_selector::{DiskLocation, Endpoint, ErrorKind, FormatDevice};
use strongroom_secret::Passphrase;
use strongroom_types::{ByteSize, EncryptionFormat, GuestSize};

use super::Stage;
use super::life::add_pool;
use crate::report::{Checks, Report};
use crate::session::scratch;

/// Notes a refusal whose text has all of the words; anything else fails the step.
fn refused<T>(checks: &mut Checks, result: Result<T, ControlPlaneError>, words: &[&str]) -> Result<()> {
    let Err(error) = result else {
        bail!("it was not refused")
    };
    let text = crate::process::chain(&anyhow::Error::from(error));
    match words.iter().find(|word| !text.contains(**word)) {
        Some(word) => bail!("refused, but without saying {word:?}: {text}"),
        None => {
            checks.held(format!("refused: {text}"));
            Ok(())
        }
    }
}

pub(crate) fn all(stage: &Stage, report: &mut Report) -> Result<()> {
    let control = &stage.session.control;
    let new = |pool: &str| -> Result<NewVolume> {
        let mut new = NewVolume::new("secret".parse()?, GuestSize::new(ByteSize::mib(1).get())?);
        new.pool = Some(pool.parse()?);
        Ok(new)
    };
    report.step(
        "ask for encryption on a pool that cannot encrypt",
        |call, checks| {
            add_pool(stage, call, "open", "no")?;
            refused(
                checks,
                control.create_volume(call, &new("open")?),
                &["open", "encrypt"],
            )?;
            nothing_was_made(stage, checks, "open")
        },
    )?;
    report.step("ask for encryption where no host can encrypt", |call, checks| {
        add_pool(stage, call, "remote", "yes")?;
        let facts = stage.toolless.probe(call, &scratch(&stage.directory))?;
        control.register_host(&facts)?;
        stage.toolless.reach("remote".parse()?);
        stage.session.agent.leave(&"remote".parse()?);
        let words = [
            "toolless",
            "lacks qcow2-luks",
            "the package is",
            "local",
            "does not reach pool remote",
        ];
        refused(checks, control.create_volume(call, &new("remote")?), &words)?;
        nothing_was_made(stage, checks, "remote")
    })?;
    report.step("format a disk that is not blank", |call, checks| {
        let path = stage.directory.join("not-blank");
        fs::write(&path, vec![0; 4 << 20])?;
        let mut content = fs::read(&path)?;
        content.splice(3 << 20..(3 << 20) + 4, *b"data");
        fs::write(&path, &content)?;
        let key = Passphrase::generate()?;
        let location = DiskLocation::File(path.clone());
        let volume = "not-blank".parse()?;
        let format = FormatDevice::new(&volume, &location, EncryptionFormat::Luks1, &key);
        let Err(error) = stage.session.agent.run(call, &format.into()) else {
            bail!("it was formatted")
        };
        if error.kind() != ErrorKind::AlreadyExists {
            bail!("refused for another reason: {error}");
        }
        checks.held(format!("refused: {error}"));
        let untouched = fs::read(&path)? == content;
        fs::remove_file(&path)?;
        checks.hold(untouched, "it is as it was", "it was changed")
    })?;
    report.step("open a volume whose key is missing", |call, checks| {
        let database = rusqlite::Connection::open(stage.session.state.database())?;
        database.execute_batch(
            "CREATE TEMP TABLE aside AS SELECT * FROM passphrases; PRAGMA foreign_keys = OFF;",
        )?;
        database.execute("DELETE FROM passphrases", [])?;
        let outcome = control.verify_volume(call, &"data".parse()?);
        database.execute("INSERT INTO passphrases SELECT * FROM aside", [])?;
        refused(checks, outcome, &["passphrase"])?;
        control.verify_volume(call, &"data".parse()?)?;
        checks.held("with the key back it opens again");
        Ok(())
    })
}

fn nothing_was_made(stage: &Stage, checks: &mut Checks, pool: &str) -> Result<()> {
    let files = stage.volume_files(&pool.parse()?)?;
    checks.hold(
        files == 0,
        "nothing was made",
        format!("{files} files were left behind"),
    )
}
