use crate::HeaderError;
use crate::pbkdf::MOST_ITERATIONS;

/// The most that an Argon2 keyslot may take: cryptsetup's own limit of memory in KiB.
const MOST_KIBIBYTES: u32 = 4 << 20;
/// Memory in KiB, gone through so often that it is minutes.
const MOST_WORK: u64 = 1 << 28;

/// A passphrase that opens nothing is tried on all of them.
const ALL: &str = "one try on every keyslot";

/// What one try of a passphrase costs, added up. A header that asks in each keyslot for as much as one may have takes the sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stretching {
    iterations: u64,
    kibibytes: u64,
    digest: u32,
}

impl Stretching {
    /// A PBKDF2 that is computed as often as this.
    pub(crate) fn pbkdf2(
        &mut self,
        whose: &'static str,
        iterations: u32,
        times: usize,
    ) -> Result<(), HeaderError> {
        within(whose, iterations.into())?;
        let times = u64::try_from(times).unwrap_or(u64::MAX);
        self.iterations = self
            .iterations
            .saturating_add(u64::from(iterations).saturating_mul(times));
        within(ALL, self.iterations)
    }

    /// The digest that tells a right volume key from a wrong one, which is computed for each of so many keyslots.
    pub(crate) fn digest(&mut self, iterations: u32, keyslots: usize) -> Result<(), HeaderError> {
        self.digest = self.digest.max(iterations);
        self.pbkdf2("its volume key digest", iterations, keyslots)
    }

    /// One more keyslot with PBKDF2, and the digest once more.
    pub(crate) fn one_more(&mut self, iterations: u32) -> Result<(), HeaderError> {
        self.digest(self.digest, 1)?;
        self.pbkdf2("a keyslot", iterations, 1)
    }

    /// An Argon2 that goes over this memory so often.
    pub(crate) fn argon2(&mut self, passes: u32, kibibytes: u32) -> Result<(), HeaderError> {
        if kibibytes > MOST_KIBIBYTES {
            return Err(HeaderError::Value {
                field: "Argon2 memory in KiB",
                found: kibibytes.into(),
            });
        }
        let work = u64::from(passes) * u64::from(kibibytes);
        self.kibibytes = self.kibibytes.saturating_add(work);
        for (whose, work) in [("a keyslot", work), (ALL, self.kibibytes)] {
            if work > MOST_WORK {
                let iterations = work.div_ceil(kibibytes.max(1).into());
                return Err(HeaderError::Costly { whose, iterations });
            }
        }
        Ok(())
    }
}

fn within(whose: &'static str, iterations: u64) -> Result<(), HeaderError> {
    if iterations > MOST_ITERATIONS.into() {
        return Err(HeaderError::Costly { whose, iterations });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_may_ask_for_all_together_may_not() {
        let mut all = Stretching::default();
        all.pbkdf2("a keyslot", 60_000_000, 1).unwrap();
        all.pbkdf2("a digest", 20_000_000, 2).unwrap();
        let over = all.pbkdf2("a keyslot", 1, 1).unwrap_err();
        assert!(matches!(
            over,
            HeaderError::Costly {
                whose: ALL,
                iterations: 100_000_001
            }
        ));
        let mut all = Stretching::default();
        all.argon2(40, MOST_KIBIBYTES).unwrap();
        let over = all.argon2(40, MOST_KIBIBYTES).unwrap_err();
        assert!(matches!(
            over,
            HeaderError::Costly {
                whose: ALL,
                iterations: 80
            }
        ));
        let one = Stretching::default().argon2(65, MOST_KIBIBYTES).unwrap_err();
        assert!(matches!(
            one,
            HeaderError::Costly {
                whose: "a keyslot",
                iterations: 65
            }
        ));
    }
}
