use crate::ImageError;

/// The most that a caller is willing to compute to try a passphrase on a header that somebody else may have written.
///
/// A header asks for up to 2^32 iterations, which is an hour of a processor. These limits are policy, not part of a format:
/// a reader accepts the header, and the caller checks it before it asks a tool to open the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CostLimit {
    /// Iterations of PBKDF2, per slot or digest.
    pub iterations: u32,
    /// Memory of Argon2 in KiB.
    pub kibibytes: u32,
    /// Passes of Argon2 over its memory.
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

impl CostLimit {
    pub(crate) fn pbkdf2(&self, whose: &str, iterations: u32) -> Result<(), ImageError> {
        within(whose, iterations, "iterations of PBKDF2", self.iterations)
    }

    pub(crate) fn argon2(
        &self,
        whose: &str,
        passes: u32,
        kibibytes: u32,
        threads: u32,
    ) -> Result<(), ImageError> {
        within(whose, passes, "passes of Argon2", self.passes)?;
        within(whose, kibibytes, "KiB of memory", self.kibibytes)?;
        within(whose, threads, "threads", self.threads)
    }
}

fn within(whose: &str, found: u32, unit: &'static str, limit: u32) -> Result<(), ImageError> {
    if found > limit {
        return Err(ImageError::Costly {
            whose: whose.to_owned(),
            found: found.into(),
            unit,
            limit: limit.into(),
        });
    }
    Ok(())
}
