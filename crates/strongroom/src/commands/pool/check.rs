use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use strongroom_control_plane::{PoolDrivers, PoolRecord};
use strongroom_pool_conformance::{CheckResult, Outcome, Report, Site, checks, run_only};
use strongroom_types::{Call, PoolId};

use crate::cli::{Output, PoolCheck};
use crate::drivers::{DIRECTORY, Drivers};
use crate::session::Session;

/// After how long a check that does not end has failed. Disks may be slow, and devices large.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, Serialize)]
struct ReportView<'a> {
    pool: &'a PoolId,
    passed: usize,
    failed: usize,
    not_tested: usize,
    seconds: f64,
    checks: Vec<CheckView>,
}

#[derive(Debug, Serialize)]
struct CheckView {
    name: &'static str,
    sentence: &'static str,
    /// `passed`, `failed` or `not_tested`.
    outcome: &'static str,
    /// What was expected, seen and is to do, or why it was not tested; null when it passed.
    detail: Option<String>,
    seconds: f64,
}

impl From<&CheckResult> for CheckView {
    fn from(result: &CheckResult) -> Self {
        let (outcome, detail) = match &result.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::NotTested(why) => ("not_tested", Some(why.clone())),
            Outcome::Failed(failure) => ("failed", Some(failure.to_string())),
            other => ("failed", Some(format!("{other:?}"))),
        };
        Self {
            name: result.check.name,
            sentence: result.check.sentence,
            outcome,
            detail,
            seconds: result.took.as_secs_f64(),
        }
    }
}

impl<'a> ReportView<'a> {
    fn new(pool: &'a PoolId, report: &Report) -> Self {
        let checks: Vec<_> = report.results.iter().map(CheckView::from).collect();
        let count = |outcome| checks.iter().filter(|check| check.outcome == outcome).count();
        Self {
            pool,
            passed: count("passed"),
            failed: count("failed"),
            not_tested: count("not_tested"),
            seconds: report.took().as_secs_f64(),
            checks,
        }
    }
}

/// Runs the suite on a pool that was added, by its driver and this machine's agent.
pub(super) fn run(session: &Session, asked: &PoolCheck, output: Output, call: &Call) -> Result<()> {
    let record = admitted(session, asked)?;
    // Made now, so that a place where it cannot be is known before the checks run.
    let junit = match &asked.junit {
        None => None,
        Some(path) => {
            let made = File::create(path).with_context(|| format!("cannot write to {}", path.display()))?;
            Some((path, made))
        }
    };
    let report = checked(&site(session, &record), asked, call)?;
    print(output, &record.id, &report)?;
    if let Some((path, mut file)) = junit {
        let xml = report.to_junit(record.id.as_str())?;
        file.write_all(xml.as_bytes())
            .with_context(|| format!("cannot write to {}", path.display()))?;
    }
    match report.failures().count() {
        0 => Ok(()),
        failed => bail!(
            "pool {} fails {failed} of {} checks",
            record.id,
            report.results.len()
        ),
    }
}

/// The record of a pool that may be checked.
fn admitted(session: &Session, asked: &PoolCheck) -> Result<PoolRecord> {
    let mut pools = session.control.pools()?.into_iter();
    let Some(record) = pools.find(|pool| pool.id == asked.name) else {
        bail!("there is no pool {}; `pool list` names them", asked.name);
    };
    if session.remote_hosts()?.have(&record.id) {
        bail!(
            "pool {} is reached by hosts elsewhere, and the suite works with this machine's tools; check it there",
            record.id
        );
    }
    if session.control.hosts()?.is_empty() {
        bail!("it is not known what this machine can do; run `host probe` first");
    }
    let volumes = session.control.volumes()?;
    let in_pool = volumes.iter().filter(|volume| volume.pool == record.id).count();
    if in_pool > 0 && !asked.with_volumes {
        bail!(
            "pool {} has {in_pool} volumes, and a driver with a fault may harm them; check a pool without volumes, or say --with-volumes",
            record.id
        );
    }
    Ok(record)
}

/// What the suite is given: the driver as every command opens it, and the agent that every command asks.
fn site(session: &Session, record: &PoolRecord) -> Site {
    let opened = record.clone();
    let site = Site::new(move || Drivers.driver(&opened))
        .with_host(session.agent.clone())
        .with_patience(PATIENCE);
    match record.settings.get(DIRECTORY).map(PathBuf::from) {
        None => site,
        Some(directory) => site.with_listing(move || names_in(&directory)),
    }
}

/// The names of all that is in a pool's directory, its templates included.
fn names_in(directory: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if name != "templates" {
            names.insert(name.to_string_lossy().into_owned());
        }
    }
    match std::fs::read_dir(directory.join("templates")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        entries => {
            for entry in entries? {
                names.insert(format!("templates/{}", entry?.file_name().to_string_lossy()));
            }
        }
    }
    Ok(names)
}

/// Runs the checks that were asked for, one by one, so that a signal ends the command between two of them.
fn checked(site: &Site, asked: &PoolCheck, call: &Call) -> Result<Report> {
    let wanted = |name: &str| asked.only.is_empty() || asked.only.iter().any(|only| only == name);
    let names = checks()
        .iter()
        .map(|check| check.name)
        .filter(|name| wanted(name));
    let mut report = run_only::<&str>(site, &[])?;
    for name in names {
        call.check()
            .with_context(|| format!("stopped after {} checks", report.results.len()))?;
        tracing::debug!("checking {name}");
        report.results.extend(run_only(site, &[name])?.results);
    }
    Ok(report)
}

fn print(output: Output, pool: &PoolId, report: &Report) -> Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Table => writeln!(out, "{report}")?,
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, &ReportView::new(pool, report))?;
            writeln!(out)?;
        }
    }
    Ok(out.flush()?)
}
