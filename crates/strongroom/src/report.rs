//! Steps with what was done, what was checked and how long it took.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use strongroom_types::Call;

use crate::cli::Output;

/// One step as it is printed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Step {
    /// What was done.
    pub(crate) step: String,
    /// Whether it was done and every check held.
    pub(crate) ok: bool,
    /// How long it took.
    pub(crate) seconds: f64,
    /// What was checked, each as a sentence.
    pub(crate) checked: Vec<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

/// What a step found out.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<String>);

impl Checks {
    /// Notes a check that held.
    pub(crate) fn held(&mut self, sentence: impl Into<String>) {
        self.0.push(sentence.into());
    }

    /// Notes a check that must hold; else the step fails with the sentence that says what was seen.
    pub(crate) fn hold(
        &mut self,
        holds: bool,
        sentence: impl Into<String>,
        otherwise: impl Into<String>,
    ) -> Result<()> {
        if !holds {
            anyhow::bail!(otherwise.into());
        }
        self.held(sentence);
        Ok(())
    }
}

/// Does work that may take long, with a progress bar on a terminal.
pub(crate) fn with_bar<T>(
    output: Output,
    name: &str,
    call: &Call,
    work: impl FnOnce(&Call) -> Result<T>,
) -> Result<T> {
    let visible = output == Output::Table && io::stderr().is_terminal();
    let target = if visible {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(1000), target).with_message(name.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{bar:30}] {percent}% {elapsed}") {
        bar.set_style(style);
    }
    if visible {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    let watched = call.clone().with_progress({
        let bar = bar.clone();
        std::sync::Arc::new(move |fraction| bar.set_position((fraction * 1000.0) as u64))
    });
    let result = work(&watched);
    bar.finish_and_clear();
    result
}

/// Prints steps as they end and a table of all of them at the end.
#[derive(Debug)]
pub(crate) struct Report {
    output: Output,
    steps: Vec<Step>,
    call: Call,
}

impl Report {
    pub(crate) fn new(output: Output, call: &Call) -> Self {
        Self {
            output,
            steps: Vec::new(),
            call: call.clone(),
        }
    }

    /// Runs one step and prints its line. A failed step is an error, after its line was printed.
    pub(crate) fn step<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&Call, &mut Checks) -> Result<T>,
    ) -> Result<T> {
        let begun = Instant::now();
        let mut checks = Checks::default();
        let go_on = self.call.check().map_err(anyhow::Error::from);
        let result =
            go_on.and_then(|()| with_bar(self.output, name, &self.call, |call| work(call, &mut checks)));
        let step = Step {
            step: name.to_owned(),
            ok: result.is_ok(),
            seconds: begun.elapsed().as_secs_f64(),
            checked: checks.0,
            error: result.as_ref().err().map(crate::process::chain),
        };
        self.print(&step)?;
        self.steps.push(step);
        result
    }

    fn print(&self, step: &Step) -> Result<()> {
        let mut out = io::stdout().lock();
        match self.output {
            Output::Json => writeln!(out, "{}", serde_json::to_string(step)?)?,
            Output::Table => {
                let mark = if step.ok { "ok  " } else { "FAIL" };
                write!(out, "{mark} {:>7.2}s  {}", step.seconds, step.step)?;
                if !step.checked.is_empty() {
                    write!(out, ": {}", step.checked.join("; "))?;
                }
                if let Some(error) = &step.error {
                    write!(out, ": {error}")?;
                }
                writeln!(out)?;
            }
        }
        Ok(out.flush()?)
    }

    /// Prints the table of all steps.
    pub(crate) fn summary(&self) -> Result<()> {
        if self.output == Output::Json || self.steps.is_empty() {
            return Ok(());
        }
        let mut table = crate::output::table(["step", "result", "seconds", "checks"]);
        for step in &self.steps {
            table.add_row([
                step.step.clone(),
                if step.ok { "ok".into() } else { "FAILED".into() },
                format!("{:.2}", step.seconds),
                step.checked.len().to_string(),
            ]);
        }
        let (seconds, checks) = self.steps.iter().fold((0.0, 0), |(s, c), step| {
            (s + step.seconds, c + step.checked.len())
        });
        table.add_row([
            "total".into(),
            String::new(),
            format!("{seconds:.2}"),
            checks.to_string(),
        ]);
        Ok(writeln!(io::stdout(), "\n{table}")?)
    }
}
