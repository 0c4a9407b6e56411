use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{
    CreateDisk, DiskContent, Endpoint, EndpointError, EndpointSelector, ErrorKind, HostAnswer, Need,
    Protection, RegisteredEndpoints,
};
use strongroom_pool_conformance::{Fault, FaultPlan, FaultyEndpoint, FaultySelector};
use strongroom_types::{Call, Cancellation, DiskFormat, GuestSize};

use crate::site::{SIZE, node};

fn create(endpoint: &dyn Endpoint, call: &Call) -> Result<HostAnswer, EndpointError> {
    let size = GuestSize::new(SIZE).unwrap();
    let path = "/p/v".as_ref();
    let command = CreateDisk::new(path, DiskFormat::Raw, size, Protection::Plain, DiskContent::Blank);
    endpoint.run(call, &command.into())
}

/// What a create answers that this happens to, whether the disk is there then, and how often the command came.
fn struck(fault: Fault) -> (Result<HostAnswer, EndpointError>, bool, usize) {
    let (node, plan, caller) = (node(), FaultPlan::new(), Cancellation::new());
    let faulty = FaultyEndpoint::new(Arc::clone(&node), plan.clone());
    plan.strike(0, fault, &caller);
    let answer = create(&faulty, &Call::new().with_cancellation(caller.clone()));
    assert_eq!(plan.commands(), ["CreateDisk"]);
    assert_eq!(plan.not_stopped(), None);
    let gave_up = matches!(fault, Fault::Hangs | Fault::AnswersLate);
    assert_eq!(caller.is_cancelled(), gave_up);
    (answer, !node.paths().is_empty(), node.commands().len())
}

#[test]
fn each_fault_does_what_it_says() {
    let (answer, there, times) = struck(Fault::FailsBefore);
    assert_eq!(
        (answer.unwrap_err().kind(), there, times),
        (ErrorKind::Io, false, 0)
    );
    let (answer, there, times) = struck(Fault::Hangs);
    assert_eq!(
        (answer.unwrap_err().kind(), there, times),
        (ErrorKind::Cancelled, false, 0)
    );
    let (answer, there, times) = struck(Fault::AnswerLost);
    assert_eq!(
        (answer.unwrap_err().kind(), there, times),
        (ErrorKind::Io, true, 1)
    );
    let (answer, there, times) = struck(Fault::DoneTwice);
    assert_eq!(
        (answer.unwrap_err().kind(), there, times),
        (ErrorKind::AlreadyExists, true, 2)
    );
    let (answer, there, times) = struck(Fault::AnswersLate);
    assert!(matches!(answer.unwrap(), HostAnswer::Disk(_)));
    assert_eq!((there, times), (true, 1));
}

#[test]
fn only_the_command_at_its_position_is_struck_and_only_once() {
    let (node, plan) = (node(), FaultPlan::new());
    let mut hosts = RegisteredEndpoints::new();
    hosts.register(node.clone());
    let selector = FaultySelector::new(hosts, plan.clone());
    plan.strike(1, Fault::FailsBefore, &Cancellation::new());
    let host = selector.select(&Need::any()).unwrap();
    assert_eq!(host.host().id.as_str(), "node-1");
    let kinds: Vec<_> = (0..3)
        .map(|_| create(&host, &Call::new()).map_err(|e| e.kind()).err())
        .collect();
    assert_eq!(kinds, [None, Some(ErrorKind::Io), Some(ErrorKind::AlreadyExists)]);
    assert_eq!(plan.commands().len(), 3);
    plan.calm();
    assert_eq!(plan.commands().len(), 0);
    assert_eq!(
        create(&host, &Call::new()).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
}

#[test]
fn a_hang_ends_by_the_deadline_of_the_call_and_at_last_by_itself() {
    let (plan, caller) = (FaultPlan::new(), Cancellation::new());
    let faulty = FaultyEndpoint::new(node(), plan.clone());
    plan.strike(0, Fault::Hangs, &caller);
    let call = Call::new().with_timeout(Duration::from_millis(20));
    assert_eq!(create(&faulty, &call).unwrap_err().kind(), ErrorKind::Deadline);
    assert_eq!(plan.not_stopped(), None);

    plan.strike(0, Fault::Hangs, &caller);
    let begun = Instant::now();
    assert_eq!(
        create(&faulty, &Call::new()).unwrap_err().kind(),
        ErrorKind::Deadline
    );
    assert_eq!(
        plan.not_stopped(),
        Some("CreateDisk"),
        "it had another call than its caller"
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn every_fault_says_what_it_is() {
    let texts: std::collections::BTreeSet<_> = Fault::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), Fault::ALL.len());
}
