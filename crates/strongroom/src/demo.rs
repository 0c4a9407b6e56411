//! The life of encrypted volumes on this machine, each step checked by an independent reading of the disk.

mod archive;
mod boot;
mod boot_files;
mod boot_root;
mod console;
mod copies;
mod erase;
mod life;
mod raw_disk;
mod refusals;
mod scan;
mod template;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use strongroom_endpoint_selector::SourceImage;
use strongroom_exec::{Runner, SystemRunner};
use strongroom_host_agent::{HostAgent, HypervisorUri, ToolPaths};
use strongroom_types::{Call, DiskFormat, PoolId};

use crate::cli::{Demo, Output};
use crate::report::Report;
use crate::session::{Session, Wiring};
use crate::state::StateDirectory;

/// What the steps of the demo work with.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) session: Session,
    /// A host that has no tools.
    pub(crate) toolless: Arc<HostAgent>,
    pub(crate) directory: PathBuf,
    pub(crate) runner: Arc<dyn Runner>,
}

/// A template and its format.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) path: PathBuf,
    pub(crate) format: DiskFormat,
}

impl Template {
    pub(crate) fn source(&self) -> SourceImage<'_> {
        SourceImage::new(&self.path, self.format)
    }
}

impl Stage {
    /// The directory of a pool.
    pub(crate) fn pool_directory(&self, pool: &PoolId) -> PathBuf {
        self.directory.join("pools").join(pool.as_str())
    }

    /// How many files of volumes a pool has: its mark and its copies of templates are none.
    pub(crate) fn volume_files(&self, pool: &PoolId) -> Result<usize> {
        let of_volumes = |name: &OsStr| name != ".strongroom-pool" && name != "templates";
        let entries = fs::read_dir(self.pool_directory(pool))?.flatten();
        Ok(entries.filter(|entry| of_volumes(&entry.file_name())).count())
    }

    /// The file of a volume in a pool.
    pub(crate) fn disk(&self, pool: &PoolId, volume: &str) -> Result<PathBuf> {
        let prefix = format!("{volume}.");
        fs::read_dir(self.pool_directory(pool))?
            .flatten()
            .find(|e| e.file_name().to_string_lossy().starts_with(&prefix))
            .map(|e| e.path())
            .with_context(|| format!("no file of volume {volume} in pool {pool}"))
    }
}

/// A directory that the demo made and removes, unless it is to be kept. It is locked until it is gone.
struct DemoDirectory {
    state: StateDirectory,
    keep: bool,
}

impl DemoDirectory {
    fn make(wanted: Option<PathBuf>, keep: bool, call: &Call) -> Result<Self> {
        let path = match wanted {
            Some(path) => {
                DirBuilder::new().mode(0o700).create(&path).with_context(|| {
                    format!(
                        "cannot make {}: the demo makes a directory of its own and removes it; leave out --state and STRONGROOM_STATE, \
                         or name one that is not there",
                        path.display()
                    )
                })?;
                path
            }
            // A name that nobody can guess, and so nobody can have taken before.
            None => tempfile::Builder::new()
                .prefix("strongroom-demo-")
                .tempdir()
                .context("cannot make a directory for the demo")?
                .keep(),
        };
        // Should somebody else be at work in it by now, it is theirs and stays.
        let state = StateDirectory::open(&path, call)?;
        Ok(Self { state, keep })
    }
}

impl Drop for DemoDirectory {
    fn drop(&mut self) {
        if !self.keep {
            drop(fs::remove_dir_all(self.state.path()));
        }
    }
}

/// Runs the demo.
pub(crate) fn run(
    demo: &Demo,
    state: Option<PathBuf>,
    output: Output,
    hosted: (ToolPaths, HypervisorUri),
    call: &Call,
) -> Result<()> {
    let directory = DemoDirectory::make(state, demo.keep, call)?;
    if demo.boot {
        boot::let_through(directory.state.path())?;
    }
    let mut report = Report::new(output, call);
    let result = steps(demo, &directory.state, hosted, call, &mut report);
    report.summary()?;
    if demo.keep {
        eprint_line(&format!(
            "the state is kept in {}",
            directory.state.path().display()
        ));
    }
    result
}

fn eprint_line(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn steps(
    demo: &Demo,
    state: &StateDirectory,
    (tools, hypervisor): (ToolPaths, HypervisorUri),
    call: &Call,
    report: &mut Report,
) -> Result<()> {
    let directory = state.path();
    let runner: Arc<dyn Runner> = Arc::new(SystemRunner::new());
    let nowhere = ToolPaths::in_directory(directory.join("no-tools"));
    let toolless = Arc::new(HostAgent::new("toolless".parse()?, nowhere, runner.clone()));
    let wiring = Wiring {
        tools,
        hypervisor,
        others: vec![toolless.clone()],
    };
    let session = Session::open_in(state.clone(), wiring, call)?;
    let stage = Stage {
        session,
        toolless,
        directory: directory.to_owned(),
        runner,
    };
    life::prepare(&stage, report)?;
    if demo.boot {
        boot::able(&stage, report)?;
    }
    let template = life::template(&stage, demo, report)?;
    life::data_volume(&stage, report)?;
    life::root_volume(&stage, &template, report)?;
    life::grow_snapshot_restore(&stage, &template, report)?;
    raw_disk::life(&stage, &template, report)?;
    copies::all(&stage, &template, report)?;
    if demo.boot {
        boot::all(&stage, report)?;
    }
    refusals::all(&stage, report)?;
    erase::all(&stage, report)
}
