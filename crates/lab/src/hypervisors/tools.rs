use strongroom_exec::{CommandSpec, Completed, Program, Runner, SystemRunner, Watch};

use super::LabError;

/// A program of this machine, or which package brings it.
pub(crate) fn tool(name: &str, package: &'static str) -> Result<CommandSpec<'static>, LabError> {
    Program::find(name)
        .map(CommandSpec::new)
        .map_err(|source| LabError::Tool { package, source })
}

/// Runs it, whatever its exit code.
pub(crate) fn run(command: &CommandSpec<'_>) -> Result<Completed, LabError> {
    SystemRunner::new()
        .run(command, &Watch::nobody())
        .map_err(|source| LabError::Run { source })
}

/// Runs it, and exit code 0 is a success.
pub(crate) fn succeed(command: &CommandSpec<'_>) -> Result<Completed, LabError> {
    let done = run(command)?;
    if done.code == 0 {
        return Ok(done);
    }
    Err(LabError::Failed {
        command: command.to_string(),
        code: done.code,
        message: done.message(),
    })
}
