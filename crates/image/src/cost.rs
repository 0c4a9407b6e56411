use crate::ImageError;

/// The most that a caller is willing to compute to try a passphrase on a header that somebody else may have written.
///
/// A header asks for up to 2^32 iterations, which is an hour of a processor. These limits are policy, not part of a format:
/// a reader accepts the header, and the caller checks it before it asks a tool to open the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CostLimit {
    /// Iterations of PBKDF2 that one try of a passphrase costs: those of all keyslots that it is tried on, and of the digest that
    /// the outcome of each is compared with.
    pub iterations: u32,
    /// Memory of Argon2 in KiB, of one keyslot.
    pub kibibytes: u32,
    /// Passes of Argon2 over its memory, of one keyslot. All keyslots together may go over as much memory as one that takes all
    /// that it may, this often.
    pub passes: u32,
    /// Threads of Argon2.
    pub threads: u32,
}

impl Default for CostLimit {
    /// 100,000,000 iterations, about half a minute of PBKDF2 with SHA-256; 4 GiB of memory and 4 threads, the most that
    /// cryptsetup asks for by itself; 100 passes.
    fn default() -> Self {
        Self {
            iterations: 100_000_000,
            kibibytes: 4 << 20,
            passes: 100,
            threads: 4,
        }
    }
}

/// What one try of a passphrase costs, added up.
#[derive(Debug)]
pub(crate) struct Total<'l> {
    limit: &'l CostLimit,
    iterations: u64,
    kibibytes: u64,
}

impl<'l> Total<'l> {
    pub(crate) fn within(limit: &'l CostLimit) -> Self {
        Self {
            limit,
            iterations: 0,
            kibibytes: 0,
        }
    }

    /// A PBKDF2 that is computed as often as this.
    pub(crate) fn pbkdf2(&mut self, whose: &str, iterations: u32, times: usize) -> Result<(), ImageError> {
        const UNIT: &str = "iterations of PBKDF2";
        within(whose, iterations.into(), UNIT, self.limit.iterations.into())?;
        let times = u64::try_from(times).unwrap_or(u64::MAX);
        self.iterations = self
            .iterations
            .saturating_add(u64::from(iterations).saturating_mul(times));
        within(ALL, self.iterations, UNIT, self.limit.iterations.into())
    }

    pub(crate) fn argon2(
        &mut self,
        whose: &str,
        passes: u32,
        kibibytes: u32,
        threads: u32,
    ) -> Result<(), ImageError> {
        let limit = self.limit;
        within(whose, passes.into(), "passes of Argon2", limit.passes.into())?;
        within(whose, kibibytes.into(), "KiB of memory", limit.kibibytes.into())?;
        within(whose, threads.into(), "threads", limit.threads.into())?;
        let gone_over = u64::from(passes) * u64::from(kibibytes);
        self.kibibytes = self.kibibytes.saturating_add(gone_over);
        let most = u64::from(limit.passes) * u64::from(limit.kibibytes);
        within(ALL, self.kibibytes, "KiB that Argon2 goes over", most)
    }
}

/// A passphrase that opens nothing is tried on all of them.
const ALL: &str = "one try on every keyslot";

fn within(whose: &str, found: u64, unit: &'static str, limit: u64) -> Result<(), ImageError> {
    if found > limit {
        return Err(ImageError::Costly {
            whose: whose.to_owned(),
            found,
            unit,
            limit,
        });
    }
    Ok(())
}
