//! What concerns the process as a whole: signals, core dumps, logs, the last word.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use strongroom_types::Cancellation;
use tracing_subscriber::filter::LevelFilter;

use crate::advice;
use crate::cli::Output;

/// Sets up the process: no core dump and no debugger of the same user may read its keys, and the signals that end it ask it
/// to clean up first. Returns the flag that they set.
pub(crate) fn prepare(verbose: u8) -> Result<Cancellation> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )
    .context("cannot forbid core dumps")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("cannot forbid debuggers")?;
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .with_target(false)
        .init();
    let cancellation = Cancellation::new();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, cancellation.flag()).context("cannot listen for signals")?;
    }
    Ok(cancellation)
}

/// Whether it failed only because nobody reads its output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        e.downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// An error with its causes, each once.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Prints an error on standard error, as a sentence or as JSON in one line.
pub(crate) fn complain(error: &anyhow::Error, output: Output) {
    let mut err = io::stderr().lock();
    let advice = advice::on(error);
    // Where nobody reads it, there is nobody to tell.
    let _ = match output {
        Output::Json => {
            let complaint = serde_json::json!({ "error": chain(error), "advice": advice });
            writeln!(err, "{complaint}")
        }
        Output::Table => {
            let advice = advice.map(|advice| format!(" ({advice})")).unwrap_or_default();
            writeln!(err, "strongroom: {}{advice}", chain(error))
        }
    };
}
