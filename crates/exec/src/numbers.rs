use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit};

/// Numbers of descriptors that this process keeps taken, all of them by `/dev/null`.
///
/// While a child starts, the standard library holds a pipe by which the child says why the program cannot be executed, and
/// opens it under the lowest free numbers. If the child gives such a number to a passed descriptor, the pipe is lost: the
/// reason is written into the passed file, and the parent believes that the program has started. What is taken here is never
/// the pipe's. The numbers stay taken: between one start and the next another thread could get them, and free them again
/// in the very moment in which the next pipe is opened.
pub(crate) struct Numbers(Mutex<Vec<OwnedFd>>);

/// Those of this process.
pub(crate) static KEPT: Numbers = Numbers::new();

/// A number would be above the limit of open files.
#[derive(Debug, thiserror::Error)]
#[error("the limit of open files is {limit}, {needed} are needed; raise RLIMIT_NOFILE")]
struct TooLow {
    limit: u64,
    needed: i32,
}

impl Numbers {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Takes those of these numbers that are free. What is already taken by somebody else is left to them.
    pub(crate) fn keep(&self, numbers: &Range<i32>) -> io::Result<()> {
        if let Some(limit) = getrlimit(Resource::Nofile).current
            && u64::try_from(numbers.end).is_ok_and(|needed| needed > limit)
        {
            let needed = numbers.end;
            return Err(io::Error::other(TooLow { limit, needed }));
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<i32> = numbers
            .clone()
            .filter(|number| kept.iter().all(|taken| taken.as_raw_fd() != *number))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let null = OwnedFd::from(File::open("/dev/null")?);
        for number in missing {
            // It gets the next free number, and none when all from here on are taken.
            if let Ok(copy) = fcntl_dupfd_cloexec(&null, number)
                && copy.as_raw_fd() == number
            {
                kept.push(copy);
            }
        }
        if numbers.contains(&null.as_raw_fd()) {
            kept.push(null);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Numbers that nothing else in this process comes near.
    const FAR: i32 = 700;

    fn target(number: i32) -> Option<String> {
        let target = std::fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
        Some(target.to_str().unwrap().to_owned())
    }

    #[test]
    fn free_numbers_are_taken_and_those_of_others_when_they_are_free() {
        let root = File::open("/").unwrap();
        let somebody = fcntl_dupfd_cloexec(&root, FAR + 1).unwrap();
        assert_eq!(somebody.as_raw_fd(), FAR + 1);
        let (null, numbers) = (Some("/dev/null".to_owned()), Numbers::new());
        let seen = || [FAR, FAR + 1, FAR + 2, FAR + 3].map(target);

        numbers.keep(&(FAR..FAR + 3)).unwrap();
        assert_eq!(seen(), [null.clone(), Some("/".to_owned()), null.clone(), None]);
        drop(somebody);
        numbers.keep(&(FAR..FAR + 3)).unwrap();
        assert_eq!(seen(), [null.clone(), null.clone(), null, None]);
        drop(numbers);
        assert_eq!(seen(), [None, None, None, None]);
    }
}
