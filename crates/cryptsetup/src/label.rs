use std::fmt;
use std::str::FromStr;

/// The name that a LUKS2 header carries, shown by `blkid` and `lsblk`. LUKS1 has no room for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label(String);

/// Why a text is not a label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// No characters. A volume without a label is one that was not given any.
    #[error("the label is empty; leave it out instead")]
    Empty,
    /// More than [`Label::MAX`] bytes.
    #[error("the label has {0} bytes, a LUKS2 header holds {max}", max = Label::MAX)]
    Long(usize),
    /// A control character, which would garble what shows the label.
    #[error("the label has a control character at byte {0}")]
    Control(usize),
}

impl Label {
    /// The largest number of bytes: the field has 48 and ends with a zero.
    pub const MAX: usize = 47;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        if text.is_empty() {
            return Err(LabelError::Empty);
        }
        if text.len() > Self::MAX {
            return Err(LabelError::Long(text.len()));
        }
        match text.char_indices().find(|(_, c)| c.is_control()) {
            Some((position, _)) => Err(LabelError::Control(position)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_what_fits_the_header_and_can_be_shown() {
        assert_eq!(
            "--type, luks1".parse::<Label>().unwrap().to_string(),
            "--type, luks1"
        );
        assert_eq!("x".repeat(47).parse::<Label>().unwrap().as_str().len(), 47);
        assert_eq!("".parse::<Label>(), Err(LabelError::Empty));
        assert_eq!("é".repeat(24).parse::<Label>(), Err(LabelError::Long(48)));
        assert_eq!("a\nb".parse::<Label>(), Err(LabelError::Control(1)));
        assert_eq!("ab\0".parse::<Label>(), Err(LabelError::Control(2)));
    }
}
