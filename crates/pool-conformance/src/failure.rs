use std::fmt;

/// What a check saw that the contract does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// What the contract promises here.
    pub expected: String,
    /// What happened instead.
    pub seen: String,
    /// What a driver author can do about it.
    pub advice: String,
}

impl Failure {
    /// A failure with all there is to say.
    #[must_use]
    pub fn new(expected: impl Into<String>, seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            seen: seen.into(),
            advice: advice.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected: {}\nseen:     {}\nto do:    {}",
            self.expected, self.seen, self.advice
        )
    }
}

/// Why a check ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    Failed(Box<Failure>),
    /// It could not be looked at, and why.
    NotTested(String),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(Box::new(failure))
    }
}

/// What a check comes to.
pub(crate) type Checked<T = ()> = Result<T, Stop>;

/// Fails unless it holds.
pub(crate) fn holds(holds: bool, expected: &str, seen: impl FnOnce() -> String, advice: &str) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(expected, seen(), advice).into())
    }
}
