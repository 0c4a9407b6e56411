use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How fast a volume may be read and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Bytes a second; `None` for no limit.
    #[serde(default)]
    pub(crate) bytes_per_second: Option<u64>,
    /// Reads and writes a second; `None` for no limit.
    #[serde(default)]
    pub(crate) operations_per_second: Option<u64>,
}

impl Limits {
    /// Whether they let anything through.
    pub(crate) fn is_possible(self) -> bool {
        self.bytes_per_second != Some(0) && self.operations_per_second != Some(0)
    }

    /// For how long an operation of this length takes the volume.
    fn takes(self, length: usize) -> Duration {
        let share = |amount: u64, rate: Option<u64>| {
            let nanos = u128::from(amount) * 1_000_000_000;
            let nanos = rate.and_then(|rate| nanos.checked_div(rate.into()));
            Duration::from_nanos(u64::try_from(nanos.unwrap_or(0)).unwrap_or(u64::MAX))
        };
        let bytes = share(length.try_into().unwrap_or(u64::MAX), self.bytes_per_second);
        bytes.max(share(1, self.operations_per_second))
    }
}

/// When the next operation has its turn.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    free_at: Option<Instant>,
}

impl Pace {
    /// Takes a turn for an operation: how long it has to wait. Each begins when those before it have had their time.
    pub(crate) fn turn(&mut self, now: Instant, limits: Limits, length: usize) -> Duration {
        let begins = self.free_at.map_or(now, |free_at| free_at.max(now));
        let takes = limits.takes(length);
        self.free_at = (!takes.is_zero()).then(|| begins.checked_add(takes).unwrap_or(begins));
        begins.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(bytes: Option<u64>, operations: Option<u64>) -> Limits {
        Limits {
            bytes_per_second: bytes,
            operations_per_second: operations,
        }
    }

    /// How long each of these lengths has to wait, in milliseconds, when all are there at once.
    fn waits(limits: Limits, lengths: &[usize]) -> Vec<u128> {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let wait = |length: &usize| pace.turn(now, limits, *length).as_millis();
        lengths.iter().map(wait).collect()
    }

    #[test]
    fn each_operation_waits_for_the_time_of_those_before_it() {
        assert_eq!(
            waits(limits(Some(4096), None), &[4096, 2048, 1, 1]),
            [0, 1000, 1500, 1500]
        );
        assert_eq!(waits(limits(None, Some(10)), &[1, 1 << 20, 1]), [0, 100, 200]);
        // The narrower of the two counts.
        assert_eq!(
            waits(limits(Some(4096), Some(1)), &[512, 8192, 1]),
            [0, 1000, 3000]
        );
        assert_eq!(waits(limits(None, None), &[1 << 30, 1 << 30]), [0, 0]);
    }

    #[test]
    fn time_that_nobody_used_is_gone() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let of = limits(Some(1000), None);
        assert_eq!(pace.turn(now, of, 1000), Duration::ZERO);
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.turn(later, of, 1000), Duration::ZERO);
        assert_eq!(pace.turn(later, of, 1000), Duration::from_secs(1));
    }
}
