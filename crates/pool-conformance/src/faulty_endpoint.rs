use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{
    Endpoint, EndpointError, EndpointSelector, ErrorKind, HostAnswer, HostCommand, Need, NoHost,
};
use strongroom_types::{Call, Cancellation, HostFacts, Interrupted};

/// What goes wrong with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It fails, and nothing was done.
    FailsBefore,
    /// It hangs, and the caller loses patience; nothing was done.
    Hangs,
    /// It is done, and the host dies before it says so.
    AnswerLost,
    /// It arrives twice, and the answer is that of the second time.
    DoneTwice,
    /// It is done and answered, after the caller lost patience.
    AnswersLate,
}

impl Fault {
    /// Every one of them.
    pub const ALL: [Self; 5] = [
        Self::FailsBefore,
        Self::Hangs,
        Self::AnswerLost,
        Self::DoneTwice,
        Self::AnswersLate,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FailsBefore => "fails before it does anything",
            Self::Hangs => "hangs",
            Self::AnswerLost => "is done and its answer gets lost",
            Self::DoneTwice => "is done twice",
            Self::AnswersLate => "is answered after the caller gave up",
        })
    }
}

/// After how long a command that hangs ends although nobody stopped it.
const HANG_AT_MOST: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct State {
    strike: Option<(usize, Fault)>,
    caller: Cancellation,
    commands: Vec<&'static str>,
    not_stopped: Option<&'static str>,
}

/// Which command a fault strikes, and what came by since. Clones are the same plan.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan(Arc<Mutex<State>>);

impl FaultPlan {
    /// Nothing goes wrong; commands are counted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the command after `position` others has this fault, once. Who loses patience sets `caller`.
    pub fn strike(&self, position: usize, fault: Fault, caller: &Cancellation) {
        *self.lock() = State {
            strike: Some((position, fault)),
            caller: caller.clone(),
            ..State::default()
        };
    }

    /// From now on nothing goes wrong, and commands are counted anew.
    pub fn calm(&self) {
        *self.lock() = State::default();
    }

    /// The names of the commands since then.
    #[must_use]
    pub fn commands(&self) -> Vec<&'static str> {
        self.lock().commands.clone()
    }

    /// The command that hung and was not stopped when the caller was: the driver gave the host another [`Call`] than its own.
    #[must_use]
    pub fn not_stopped(&self) -> Option<&'static str> {
        self.lock().not_stopped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a command and says what goes wrong with it.
    fn next(&self, command: &'static str) -> Option<(Fault, Cancellation)> {
        let mut state = self.lock();
        let position = state.commands.len();
        state.commands.push(command);
        let (at, fault) = state.strike?;
        (at == position).then(|| (fault, state.caller.clone()))
    }
}

/// An endpoint to whose commands things happen, by a [`FaultPlan`].
#[derive(Debug, Clone)]
pub struct FaultyEndpoint<E> {
    inner: E,
    plan: FaultPlan,
}

impl<E: Endpoint> FaultyEndpoint<E> {
    /// This endpoint, with what the plan says.
    #[must_use]
    pub fn new(inner: E, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }

    /// Waits until the call is over, as a host does that respects it.
    fn hang(&self, call: &Call, name: &'static str) -> EndpointError {
        let begun = Instant::now();
        loop {
            let kind = match call.check() {
                Err(Interrupted::Cancelled) => ErrorKind::Cancelled,
                Err(Interrupted::Deadline) => ErrorKind::Deadline,
                Ok(()) if begun.elapsed() > HANG_AT_MOST => {
                    self.plan.lock().not_stopped = Some(name);
                    ErrorKind::Deadline
                }
                Ok(()) => {
                    std::thread::park_timeout(Duration::from_millis(1));
                    continue;
                }
            };
            return EndpointError::new(kind, name, "the host hung and nothing was done");
        }
    }
}

impl<E: Endpoint> Endpoint for FaultyEndpoint<E> {
    fn host(&self) -> HostFacts {
        self.inner.host()
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        let name = command.name();
        let Some((fault, caller)) = self.plan.next(name) else {
            return self.inner.run(call, command);
        };
        match fault {
            Fault::FailsBefore => {
                let message = "the host lost its connection and nothing was done";
                Err(EndpointError::new(ErrorKind::Io, name, message))
            }
            Fault::Hangs => {
                caller.cancel();
                Err(self.hang(call, name))
            }
            Fault::AnswerLost => {
                self.inner.run(call, command)?;
                let message = "the host died, and what it did is not known";
                Err(EndpointError::new(ErrorKind::Io, name, message))
            }
            Fault::DoneTwice => {
                self.inner.run(call, command)?;
                self.inner.run(call, command)
            }
            Fault::AnswersLate => {
                let answer = self.inner.run(call, command);
                caller.cancel();
                answer
            }
        }
    }
}

/// A selector whose endpoints are [faulty](FaultyEndpoint), all by the same plan.
#[derive(Debug, Clone)]
pub struct FaultySelector<S> {
    inner: S,
    plan: FaultPlan,
}

impl<S: EndpointSelector> FaultySelector<S> {
    /// This selector, with what the plan says.
    #[must_use]
    pub fn new(inner: S, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }
}

impl<S: EndpointSelector> EndpointSelector for FaultySelector<S> {
    fn select(&self, need: &Need) -> Result<Arc<dyn Endpoint>, NoHost> {
        let inner = self.inner.select(need)?;
        Ok(Arc::new(FaultyEndpoint::new(inner, self.plan.clone())))
    }
}
