use std::ffi::OsString;

use strongroom_secret::Origin;
use strongroom_types::{ByteSize, EncryptionFormat};

use crate::HeaderError;
use crate::stretching::Stretching;

/// What it costs to turn a passphrase into the key of a keyslot, each time a volume is opened.
///
/// Stretching protects a passphrase that can be guessed. One made of 256 random bits cannot, so that anything
/// beyond the least cost is time lost at every create and every open: seconds, as the tools measure it. A
/// cost that is said exactly also spares the measuring, and the volume opens equally fast wherever it was
/// made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pbkdf(Cost);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Cost {
    Pbkdf2 {
        iterations: u32,
    },
    Argon2id {
        iterations: u32,
        kibibytes: u32,
        threads: u32,
    },
    Measured {
        most_kibibytes: Option<u32>,
    },
}

/// Why a cost is none that cryptsetup takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PbkdfError {
    /// Too few or too many iterations.
    #[error("{found} iterations of {kind} are not between {least} and {most}")]
    Iterations {
        /// `pbkdf2` or `argon2id`.
        kind: &'static str,
        /// What was asked for.
        found: u32,
        /// The least number.
        least: u32,
        /// The largest number.
        most: u32,
    },
    /// Too little or too much memory.
    #[error("argon2id cannot work with {0}; it takes whole KiB from 32 KiB to 4 GiB")]
    Memory(ByteSize),
    /// Too few or too many threads.
    #[error("argon2id cannot work with {0} threads; it takes 1 to 4")]
    Threads(u32),
    /// LUKS1 knows no Argon2. cryptsetup 2.6.1 says so on standard error, uses PBKDF2 instead and exits with
    /// 0.
    #[error("LUKS1 has no argon2id; use PBKDF2, or LUKS2")]
    Argon2OnLuks1,
}

/// The least iterations of PBKDF2 that cryptsetup takes.
const LEAST_PBKDF2: u32 = 1000;
/// The least iterations of Argon2id that cryptsetup takes.
const LEAST_ARGON2: u32 = 4;
/// The largest memory of Argon2id that cryptsetup takes, in KiB.
const MOST_KIBIBYTES: u64 = 4 << 20;
/// More iterations than this, of all keyslots together, take longer than anybody waits for a volume to open.
pub(crate) const MOST_ITERATIONS: u32 = 100_000_000;
/// The most for one keyslot: the eight of LUKS1 together stay below [`MOST_ITERATIONS`].
const MOST_PBKDF2: u32 = 10_000_000;

impl Pbkdf {
    /// What suits a passphrase of this origin: for a generated one PBKDF2 with 1,000 iterations, the least
    /// that cryptsetup takes; for an imported one [the tool's own choice](Self::measured).
    #[must_use]
    pub const fn for_origin(origin: Origin) -> Self {
        match origin {
            Origin::Generated => Self(Cost::Pbkdf2 {
                iterations: LEAST_PBKDF2,
            }),
            Origin::Imported => Self::measured(),
        }
    }

    /// PBKDF2 with exactly this many iterations, 1,000 to 10,000,000. For passphrases that people chose,
    /// OWASP asked for 600,000 with SHA-256 in 2023.
    ///
    /// # Errors
    /// [`PbkdfError::Iterations`].
    pub const fn pbkdf2(iterations: u32) -> Result<Self, PbkdfError> {
        if iterations < LEAST_PBKDF2 || iterations > MOST_PBKDF2 {
            let (least, most) = (LEAST_PBKDF2, MOST_PBKDF2);
            return Err(PbkdfError::Iterations {
                kind: "pbkdf2",
                found: iterations,
                least,
                most,
            });
        }
        Ok(Self(Cost::Pbkdf2 { iterations }))
    }

    /// Argon2id with exactly this cost, for LUKS2. Every open takes the memory: on a host full of guests, say
    /// little.
    ///
    /// # Errors
    /// [`PbkdfError`] for fewer than 4 or more than 1,000 iterations, less than 32 KiB, more than 4 GiB or
    /// not a whole number of KiB, and for other than 1 to 4 threads.
    pub fn argon2id(memory: ByteSize, iterations: u32, threads: u32) -> Result<Self, PbkdfError> {
        let kibibytes = kibibytes(memory)?;
        if !(LEAST_ARGON2..=1000).contains(&iterations) {
            let (least, most) = (LEAST_ARGON2, 1000);
            return Err(PbkdfError::Iterations {
                kind: "argon2id",
                found: iterations,
                least,
                most,
            });
        }
        if !(1..=4).contains(&threads) {
            return Err(PbkdfError::Threads(threads));
        }
        Ok(Self(Cost::Argon2id {
            iterations,
            kibibytes,
            threads,
        }))
    }

    /// What cryptsetup chooses after measuring this machine: about two seconds per open, with Argon2id and up
    /// to 1 GiB of memory on LUKS2.
    #[must_use]
    pub const fn measured() -> Self {
        Self(Cost::Measured { most_kibibytes: None })
    }

    /// What cryptsetup chooses after measuring this machine, with at most this memory per open. LUKS1 uses
    /// none anyway.
    ///
    /// # Errors
    /// [`PbkdfError::Memory`].
    pub fn measured_within(memory: ByteSize) -> Result<Self, PbkdfError> {
        Ok(Self(Cost::Measured {
            most_kibibytes: Some(kibibytes(memory)?),
        }))
    }

    /// That this version of LUKS can do it.
    pub(crate) const fn check(self, format: EncryptionFormat) -> Result<(), PbkdfError> {
        match (self.0, format) {
            (Cost::Argon2id { .. }, EncryptionFormat::Luks1) => Err(PbkdfError::Argon2OnLuks1),
            _ => Ok(()),
        }
    }

    /// Adds one more keyslot of this cost, as far as it is known beforehand.
    pub(crate) fn add_to(self, all: &mut Stretching) -> Result<(), HeaderError> {
        match self.0 {
            Cost::Pbkdf2 { iterations } => all.one_more(iterations),
            Cost::Argon2id {
                iterations,
                kibibytes,
                ..
            } => all.argon2(iterations, kibibytes),
            Cost::Measured { .. } => Ok(()),
        }
    }

    pub(crate) fn arguments(self, format: EncryptionFormat) -> Vec<OsString> {
        let words: Vec<String> = match self.0 {
            Cost::Pbkdf2 { iterations } => vec![
                "--pbkdf".into(),
                "pbkdf2".into(),
                "--pbkdf-force-iterations".into(),
                iterations.to_string(),
            ],
            Cost::Argon2id {
                iterations,
                kibibytes,
                threads,
            } => vec![
                "--pbkdf".into(),
                "argon2id".into(),
                "--pbkdf-force-iterations".into(),
                iterations.to_string(),
                "--pbkdf-memory".into(),
                kibibytes.to_string(),
                "--pbkdf-parallel".into(),
                threads.to_string(),
            ],
            Cost::Measured {
                most_kibibytes: Some(most),
            } if format == EncryptionFormat::Luks2 => {
                vec!["--pbkdf-memory".into(), most.to_string()]
            }
            Cost::Measured { .. } => Vec::new(),
        };
        words.into_iter().map(OsString::from).collect()
    }
}

fn kibibytes(memory: ByteSize) -> Result<u32, PbkdfError> {
    let error = || PbkdfError::Memory(memory);
    let kibibytes = memory.get() >> 10;
    if !memory.get().is_multiple_of(1024) || !(32..=MOST_KIBIBYTES).contains(&kibibytes) {
        return Err(error());
    }
    u32::try_from(kibibytes).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_types::EncryptionFormat::{Luks1, Luks2};

    #[test]
    fn cost_follows_the_origin_of_the_passphrase() {
        let words = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
        for format in [Luks1, Luks2] {
            assert_eq!(Pbkdf::for_origin(Origin::Generated).arguments(format), words);
            assert!(Pbkdf::for_origin(Origin::Imported).arguments(format).is_empty());
        }
    }

    #[test]
    fn a_memory_cap_is_said_to_luks2_only() {
        let capped = Pbkdf::measured_within(ByteSize::mib(64)).unwrap();
        assert_eq!(capped.arguments(Luks2), ["--pbkdf-memory", "65536"]);
        assert!(capped.arguments(Luks1).is_empty());
    }

    #[test]
    fn costs_that_cryptsetup_refuses_or_nobody_awaits_are_refused_here() {
        assert!(matches!(
            Pbkdf::pbkdf2(999),
            Err(PbkdfError::Iterations {
                found: 999,
                least: 1000,
                ..
            })
        ));
        assert!(matches!(
            Pbkdf::pbkdf2(10_000_001),
            Err(PbkdfError::Iterations { .. })
        ));
        let mib = ByteSize::mib(64);
        assert!(matches!(
            Pbkdf::argon2id(mib, 3, 1),
            Err(PbkdfError::Iterations { kind: "argon2id", .. })
        ));
        assert_eq!(Pbkdf::argon2id(mib, 4, 0), Err(PbkdfError::Threads(0)));
        assert_eq!(Pbkdf::argon2id(mib, 4, 5), Err(PbkdfError::Threads(5)));
        for bytes in [0, 31 << 10, (32 << 10) + 1, (4 << 30) + 1024, u64::MAX] {
            let memory = ByteSize::bytes(bytes);
            assert_eq!(Pbkdf::argon2id(memory, 4, 1), Err(PbkdfError::Memory(memory)));
            assert_eq!(Pbkdf::measured_within(memory), Err(PbkdfError::Memory(memory)));
        }
        assert_eq!(
            Pbkdf::argon2id(mib, 4, 1).unwrap().check(Luks1),
            Err(PbkdfError::Argon2OnLuks1)
        );
        assert_eq!(Pbkdf::argon2id(mib, 4, 1).unwrap().check(Luks2), Ok(()));
    }
}
