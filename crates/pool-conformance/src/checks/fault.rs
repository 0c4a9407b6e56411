use std::cell::RefCell;

use strongroom_storage_pool::{OpContext, PoolError};
use strongroom_types::{Call, Cancellation};

use crate::bench::Bench;
use crate::failure::{Checked, Failure, Stop};
use crate::faulty_endpoint::Fault;

/// The faults that differ in what is left behind.
pub(crate) const LEFT_BEHIND: &[Fault] = &[Fault::FailsBefore, Fault::AnswerLost];

/// One time that an operation is tried, with what goes wrong meanwhile.
#[derive(Debug)]
pub(crate) struct Round<'b> {
    bench: &'b Bench,
    strike: Option<(usize, Fault)>,
    commands: RefCell<Vec<&'static str>>,
}

impl Round<'_> {
    /// Tries the operation, which is the only one of this round that a fault may strike.
    pub(crate) fn attempt<T>(
        &self,
        operation: impl FnOnce(&OpContext<'_>) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        let caller = Cancellation::new();
        let call = Call::new().with_cancellation(caller.clone());
        match self.strike {
            Some((position, fault)) => self.bench.plan.strike(position, fault, &caller),
            None => self.bench.plan.calm(),
        }
        let result = operation(&self.bench.cx_of(&call));
        *self.commands.borrow_mut() = self.bench.plan.commands();
        result
    }

    /// The same request again, with a call of its own and nothing going wrong. It has to finish the work.
    pub(crate) fn again<T>(
        &self,
        what: &str,
        operation: impl FnOnce(&OpContext<'_>) -> Result<T, PoolError>,
    ) -> Checked<T> {
        self.bench.plan.calm();
        crate::expect::done(&format!("{what} again"), operation(&self.bench.cx()))
    }
}

/// Runs a round in which nothing goes wrong, and then one for each command that it sent to a host and each fault.
pub(crate) fn each(bench: &Bench, faults: &[Fault], round: impl Fn(&Round<'_>) -> Checked) -> Checked {
    let calm = Round {
        bench,
        strike: None,
        commands: RefCell::default(),
    };
    let calmly = round(&calm);
    let commands = calm.commands.into_inner();
    if commands.is_empty() {
        return Err(Stop::NotTested(
            "the driver sends no command to a host for it, so none can fail".to_owned(),
        ));
    }
    calmly?;
    for (position, command) in commands.iter().enumerate() {
        for fault in faults.iter().filter(|fault| makes_a_difference(command, **fault)) {
            let struck = Round {
                bench,
                strike: Some((position, *fault)),
                commands: RefCell::default(),
            };
            round(&struck).map_err(|stop| when(stop, position, command, *fault))?;
        }
    }
    Ok(())
}

/// Whether a fault of this command is another than that it fails. What only looks leaves nothing done.
fn makes_a_difference(command: &str, fault: Fault) -> bool {
    let looks = [
        "OpenDirectory",
        "ListDirectory",
        "IdentifyDevice",
        "ProveBlank",
        "InspectDisk",
        "VerifyDisk",
        "CompareContent",
        "DigestContent",
    ];
    !looks.contains(&command) || !matches!(fault, Fault::AnswerLost | Fault::DoneTwice)
}

fn when(stop: Stop, position: usize, command: &str, fault: Fault) -> Stop {
    match stop {
        Stop::NotTested(why) => Stop::NotTested(why),
        Stop::Failed(failure) => {
            let number = position.saturating_add(1);
            let seen = format!("when command {number}, {command}, {fault}: {}", failure.seen);
            Failure::new(failure.expected, seen, failure.advice).into()
        }
    }
}
