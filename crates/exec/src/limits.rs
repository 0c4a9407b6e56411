use std::time::{Duration, Instant};

use strongroom_types::Interrupted;

use crate::{CommandSpec, Watch};

/// How often somebody looks whether the caller asked to stop.
const TICK: Duration = Duration::from_millis(50);

/// Until when a command may run: its own limit and what the caller says.
pub(crate) struct Limits<'w> {
    deadline: Option<Instant>,
    watch: &'w Watch<'w>,
}

impl<'w> Limits<'w> {
    /// Those of a command that began then.
    pub(crate) fn new(command: &CommandSpec<'_>, watch: &'w Watch<'w>, begun: Instant) -> Self {
        let own = command.time_limit().and_then(|limit| begun.checked_add(limit));
        Self {
            deadline: [own, watch.deadline()].into_iter().flatten().min(),
            watch,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        self.watch.check()?;
        match self.deadline {
            Some(deadline) if deadline <= Instant::now() => Err(Interrupted::Deadline),
            _ => Ok(()),
        }
    }

    /// Whether somebody watches the lines.
    pub(crate) fn want_lines(&self) -> bool {
        self.watch.lines.is_some()
    }

    /// Hands out a line unless it is too late for that.
    pub(crate) fn line(&self, line: &[u8]) -> Result<(), Interrupted> {
        self.check()?;
        self.watch.line(line);
        Ok(())
    }

    /// For how long nobody has to look; `None` when there is nothing to look for.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        let tick = self.watch.call.map(|_| TICK);
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        [tick, left].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use strongroom_types::Call;

    use super::*;
    use crate::Program;

    fn command() -> CommandSpec<'static> {
        CommandSpec::new(Program::unchecked("/bin/true".into()))
    }

    #[test]
    fn nobody_looks_when_there_is_nothing_to_look_for() {
        let (nobody, now) = (Watch::nobody(), Instant::now());
        assert_eq!(Limits::new(&command(), &nobody, now).next_look(), None);
        let limited = command().timeout(Duration::from_secs(3600));
        let look = Limits::new(&limited, &nobody, now).next_look().unwrap();
        assert!(look > Duration::from_secs(1800), "{look:?}");
        let call = Call::new();
        let watch = Watch::call(&call);
        assert_eq!(Limits::new(&limited, &watch, now).next_look(), Some(TICK));
    }

    #[test]
    fn the_commands_own_limit_counts_from_its_beginning() {
        let nobody = Watch::nobody();
        let limited = command().timeout(Duration::from_secs(3600));
        let now = Instant::now();
        assert_eq!(Limits::new(&limited, &nobody, now).check(), Ok(()));
        let long_ago = now.checked_sub(Duration::from_secs(3600)).unwrap();
        assert_eq!(
            Limits::new(&limited, &nobody, long_ago).check(),
            Err(Interrupted::Deadline)
        );
    }
}
