use std::fmt;
use std::str::FromStr;

/// A number of bytes that reads and prints as people write it: `512`, `64K`, `10G`, `1.5 GiB`.
///
/// Units are powers of 1024, as in `qemu-img`; `K`, `KB` and `KiB` mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct ByteSize(u64);

const UNITS: [(&str, u32); 6] = [("E", 60), ("P", 50), ("T", 40), ("G", 30), ("M", 20), ("K", 10)];

impl ByteSize {
    /// This many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// This many KiB; the largest representable size if that is too many.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 10))
    }

    /// This many MiB; the largest representable size if that is too many.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 20))
    }

    /// This many GiB; the largest representable size if that is too many.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ByteSize {
    /// Prints a whole number of the largest unit that fits exactly, else two decimals of the largest unit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match UNITS.iter().find(|(_, shift)| self.0 >= 1 << shift) {
            None => format!("{} B", self.0),
            Some((unit, shift)) if self.0.trailing_zeros() >= *shift => {
                format!("{} {unit}iB", self.0 >> shift)
            }
            Some((unit, shift)) => {
                let hundredths = (u128::from(self.0) * 100) >> shift;
                format!("{}.{:02} {unit}iB", hundredths / 100, hundredths % 100)
            }
        };
        f.pad(&text)
    }
}

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseByteSizeError {
    /// Not a number followed by an optional unit.
    #[error("not a size: {0:?}; write bytes, or a number with K, M, G, T, P or E, such as 10G")]
    Syntax(String),
    /// The number does not denote a whole number of bytes.
    #[error("not a whole number of bytes: {0:?}")]
    Fraction(String),
    /// More than 2^64 - 1 bytes.
    #[error("larger than 16 EiB: {0:?}")]
    TooLarge(String),
}

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, ParseByteSizeError> {
        let syntax = || ParseByteSizeError::Syntax(text.to_owned());
        let trimmed = text.trim();
        let split = trimmed
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let unit = unit.trim().to_ascii_uppercase();
        let unit = unit
            .strip_suffix("IB")
            .or_else(|| unit.strip_suffix('B'))
            .unwrap_or(&unit);
        let shift = match unit {
            "" => 0,
            letter => UNITS
                .iter()
                .find(|(u, _)| *u == letter)
                .map(|(_, s)| *s)
                .ok_or_else(syntax)?,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || fraction.len() > 18 || (number.contains('.') && fraction.is_empty()) {
            return Err(syntax());
        }
        let whole: u128 = whole.parse().map_err(|_| syntax())?;
        let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| syntax())?);
        let fraction: u128 = if fraction.is_empty() {
            0
        } else {
            fraction.parse().map_err(|_| syntax())?
        };
        let too_large = || ParseByteSizeError::TooLarge(text.to_owned());
        let parts = whole
            .checked_mul(scale)
            .and_then(|w| w.checked_add(fraction))
            .ok_or_else(too_large)?;
        let scaled = parts.checked_mul(1 << shift).ok_or_else(too_large)?;
        if scaled % scale != 0 {
            return Err(ParseByteSizeError::Fraction(text.to_owned()));
        }
        u64::try_from(scaled / scale).map(Self).map_err(|_| too_large())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1k", 1024),
            ("64 KiB", 65536),
            ("1.5G", 3 << 29),
            ("10g", 10 << 30),
            ("2TB", 2 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize::bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for text in ["", "G", "-1", "1X", "1.2.3", "1,5G", "1.", ".5G", "0x10", "1 2"] {
            assert!(
                matches!(text.parse::<ByteSize>(), Err(ParseByteSizeError::Syntax(_))),
                "{text}"
            );
        }
        assert!(matches!(
            "1.5".parse::<ByteSize>(),
            Err(ParseByteSizeError::Fraction(_))
        ));
        assert!(matches!(
            "16E".parse::<ByteSize>(),
            Err(ParseByteSizeError::TooLarge(_))
        ));
        assert!(matches!(
            "340282366920938463463374607431768211455E".parse::<ByteSize>(),
            Err(ParseByteSizeError::TooLarge(_))
        ));
    }

    #[test]
    fn prints_exactly_where_it_can() {
        assert_eq!(ByteSize::gib(10).to_string(), "10 GiB");
        assert_eq!(ByteSize::bytes(2_068_480).to_string(), "1.97 MiB");
        assert_eq!(ByteSize::bytes(u64::MAX).to_string(), "15.99 EiB");
        assert_eq!(format!("[{:>8}]", ByteSize::bytes(7)), "[     7 B]");
    }

    proptest! {
        #[test]
        fn bytes_round_trip(bytes: u64) {
            prop_assert_eq!(bytes.to_string().parse(), Ok(ByteSize::bytes(bytes)));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
