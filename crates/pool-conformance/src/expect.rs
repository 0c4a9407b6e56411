//! What a check expects of what an operation gave.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;

use strongroom_endpoint_selector::ErrorKind;
use strongroom_storage_pool::PoolError;

use crate::failure::{Checked, Failure};

/// An error with all its causes.
pub(crate) fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// What an operation gave, which has to succeed.
pub(crate) fn done<T>(operation: &str, result: Result<T, PoolError>) -> Checked<T> {
    result.map_err(|e| {
        let advice = "look at the causes; the request is one that the driver's capabilities allow";
        Failure::new(format!("{operation} succeeds"), told(&e), advice).into()
    })
}

const DONE: &str = "it was done; check before changing anything";

/// Fails unless the operation is refused, in whichever way.
pub(crate) fn refused_somehow<T: fmt::Debug>(operation: &str, result: Result<T, PoolError>) -> Checked {
    match result {
        Err(_) => Ok(()),
        Ok(answer) => {
            let seen = format!("success: {answer:?}");
            Err(Failure::new(format!("{operation} is refused"), seen, DONE).into())
        }
    }
}

/// The refusal of what has to be refused in this way.
pub(crate) fn refused<T: fmt::Debug>(
    operation: &str,
    result: Result<T, PoolError>,
    kind: ErrorKind,
) -> Checked<PoolError> {
    let expected = format!("{operation} is refused as \"{kind}\"");
    let advice = "callers decide by the kind of an error what to do next";
    match result {
        Err(e) if e.kind() == kind => Ok(e),
        Err(e) => Err(Failure::new(expected, format!("\"{}\": {}", e.kind(), told(&e)), advice).into()),
        Ok(answer) => Err(Failure::new(expected, format!("success: {answer:?}"), DONE).into()),
    }
}

/// Fails when something is in the storage that was not there before.
pub(crate) fn nothing_new(before: &BTreeSet<String>, after: &BTreeSet<String>, advice: &str) -> Checked {
    let left: Vec<String> = after.difference(before).cloned().collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::new("nothing is left in the storage", left.join(", "), advice).into())
}

/// Fails unless both are the same.
pub(crate) fn same<T: PartialEq + fmt::Debug>(what: &str, expected: &T, seen: &T) -> Checked {
    if expected == seen {
        return Ok(());
    }
    let advice = "compare the two; the second is what the driver says now";
    Err(Failure::new(format!("{what}: {expected:?}"), format!("{seen:?}"), advice).into())
}
