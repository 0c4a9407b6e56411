use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;

/// What `cargo run` puts into the environment about xtask's own package, which is not true of what xtask starts.
const OWN_PACKAGE: [&str; 3] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];

/// The checkout that xtask belongs to.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    cargo: PathBuf,
}

impl Workspace {
    /// From what `cargo run` says about this package.
    pub(crate) fn find() -> Result<Self, Failure> {
        let run_by_cargo = || Failure::new("run it as `cargo xtask`");
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").ok_or_else(run_by_cargo)?;
        let cargo = std::env::var_os("CARGO").ok_or_else(run_by_cargo)?;
        let root = Path::new(&manifest).ancestors().nth(2).ok_or_else(run_by_cargo)?;
        Ok(Self {
            root: root.to_owned(),
            cargo: cargo.into(),
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo with these arguments in the root of the checkout.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root).args(arguments);
        without_own_package(&mut command);
        command
    }

    /// The names of its packages, sorted.
    pub(crate) fn members(&self) -> Result<Vec<String>, Failure> {
        let list = output(&mut self.cargo(["tree", "--workspace", "--depth", "0", "--prefix", "none"]))?;
        let names: BTreeSet<&str> = list
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// Any program in the root of the checkout.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        without_own_package(&mut command);
        command
    }

    /// Replaces this process with cargo, so that Ctrl-C and the exit code are those of the program that cargo runs.
    /// Returns only when that failed.
    pub(crate) fn become_cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Failure {
        let mut command = self.cargo(arguments);
        Failure::io(shown(&command))(command.exec())
    }
}

fn without_own_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if OWN_PACKAGE
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
}

/// The command as a line to read.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Runs it with the terminal's own input and output.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let line = shown(command);
    println!("==> {line}");
    let status = command
        .status()
        .map_err(Failure::io(format_args!("run `{line}`")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("`{line}` failed ({status})")))
    }
}

/// Runs it and returns what it printed on standard output, which has to be UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let line = shown(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::io(format_args!("run `{line}`")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::new(format!(
            "`{line}` failed ({}): {said}",
            output.status
        )));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Failure::new(format!("`{line}` printed text that is not UTF-8")))
}
