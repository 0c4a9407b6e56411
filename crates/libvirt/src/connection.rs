use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use strongroom_exec::{CommandSpec, Completed, Program, RunError, Runner, Watch};
use strongroom_types::{Call, Interrupted};

use crate::diagnosis::diagnose;
use crate::{LibvirtError, Virsh};

/// Where a libvirt daemon is, such as `qemu:///system`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri(String);

impl Uri {
    /// The virtual machines of this machine: `qemu:///system`.
    #[must_use]
    pub fn system() -> Self {
        Self("qemu:///system".into())
    }

    /// The URI as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text that is no URI of a libvirt daemon that runs QEMU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no URI of a hypervisor: expected qemu:// or qemu+TRANSPORT://, without spaces and without a password"
)]
pub struct ParseUriError(String);

impl FromStr for Uri {
    type Err = ParseUriError;

    fn from_str(text: &str) -> Result<Self, ParseUriError> {
        let known = text.split_once("://").is_some_and(|(scheme, rest)| {
            let authority = rest.split('/').next().unwrap_or_default();
            let has_password = authority
                .rsplit_once('@')
                .is_some_and(|(user, _)| user.contains(':'));
            (scheme == "qemu" || scheme.starts_with("qemu+")) && !has_password
        });
        if known && text.chars().all(|c| c.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseUriError(text.to_owned()))
        }
    }
}

/// A libvirt daemon, spoken to through virsh. It may be used from several threads at once.
///
/// Every operation is one process of virsh, which connects, does one thing and ends; nothing is kept open. Each takes a [`Call`],
/// whose deadline and cancellation end virsh. **The daemon is not interrupted by that**: what it was told, it may still do. After
/// [`LibvirtError::Interrupted`] look before you go on.
#[derive(Debug, Clone)]
pub struct Connection {
    program: Program,
    runner: Arc<dyn Runner>,
    uri: Uri,
}

impl Connection {
    /// This virsh, run by this runner, for the daemon at this URI.
    #[must_use]
    pub fn new(program: Program, runner: Arc<dyn Runner>, uri: Uri) -> Self {
        Self { program, runner, uri }
    }

    /// The virsh in one of the system's directories.
    ///
    /// # Errors
    /// [`LibvirtError::MissingTool`].
    pub fn find(runner: Arc<dyn Runner>, uri: Uri) -> Result<Self, LibvirtError> {
        Program::find("virsh")
            .map(|program| Self::new(program, runner, uri))
            .map_err(LibvirtError::MissingTool)
    }

    /// Where the daemon is.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The command line, as a value that compares and can be shown. Keys and documents are in it as paths of descriptors.
    #[must_use]
    pub fn spec<'k>(&self, command: &Virsh<'k>) -> CommandSpec<'k> {
        let spec = CommandSpec::new(self.program.clone())
            .arg("--quiet")
            .arg("--connect")
            .arg(self.uri.as_str());
        command.finish(spec)
    }

    /// Runs a command and says what it printed.
    ///
    /// # Errors
    /// [`LibvirtError`] of the kind that virsh's words say, [`LibvirtError::Interrupted`] when the time was over or the caller
    /// asked to stop.
    pub fn run(&self, call: &Call, command: &Virsh<'_>) -> Result<String, LibvirtError> {
        let action = command.action();
        let interrupted = |source| LibvirtError::Interrupted { action, source };
        call.check().map_err(interrupted)?;
        let done =
            self.runner
                .run(&self.spec(command), &Watch::call(call))
                .map_err(|source| match source {
                    RunError::Deadline { .. } => interrupted(Interrupted::Deadline),
                    RunError::Cancelled { .. } => interrupted(Interrupted::Cancelled),
                    source => LibvirtError::Run { action, source },
                })?;
        answer(action, done)
    }

    /// The daemon's version of libvirt, such as `11.3.0`.
    ///
    /// # Errors
    /// [`LibvirtError::Unreachable`], [`LibvirtError::Output`], and as [`Connection::run`].
    pub fn version(&self, call: &Call) -> Result<String, LibvirtError> {
        let command = Virsh::new("version").word("--daemon");
        let text = self.run(call, &command)?;
        text.lines()
            .find_map(|line| line.strip_prefix("Running against daemon: "))
            .map(|version| version.trim().to_owned())
            .ok_or_else(|| command.unreadable("it does not say the daemon's version"))
    }
}

impl Virsh<'_> {
    pub(crate) fn unreadable(&self, problem: impl Into<String>) -> LibvirtError {
        LibvirtError::Output {
            action: self.action(),
            problem: problem.into(),
        }
    }
}

fn answer(action: &'static str, done: Completed) -> Result<String, LibvirtError> {
    if done.code != 0 {
        return Err(diagnose(action, &done));
    }
    String::from_utf8(done.stdout).map_err(|_| LibvirtError::Output {
        action,
        problem: "it is not UTF-8".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_a_qemu_driver_and_carries_no_password() {
        for text in [
            "qemu:///system",
            "qemu+tls://h2/system?pkipath=/p",
            "qemu+unix:///system?socket=/s",
            "qemu+ssh://u@h/system",
        ] {
            assert_eq!(text.parse::<Uri>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "qemu",
            "test:///default",
            "qemu+ssh://u:pw@h/system",
            "qemu:///sys tem",
            "qemu:///é",
            "-c://x",
            "xqemu:///x",
        ] {
            assert_eq!(text.parse::<Uri>(), Err(ParseUriError(text.to_owned())));
        }
    }
}
