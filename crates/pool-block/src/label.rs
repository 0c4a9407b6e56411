use std::fmt;
use std::str::FromStr;

use strongroom_types::{DiskFormat, EncryptionFormat, GuestSize};

/// How far the making or removing of a volume has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The volume has a device. Nobody knows yet what is on it, so nothing may be written there.
    Assigned,
    /// The device was blank when the volume got it. Everything on it now is the volume's.
    Begun,
    /// The volume is whole.
    Ready,
    /// The volume is being removed, and nothing of it is to be read any more.
    Leaving,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Assigned, Self::Begun, Self::Ready, Self::Leaving];

    fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Begun => "begun",
            Self::Ready => "ready",
            Self::Leaving => "leaving",
        }
    }
}

/// What the storage keeps with a device about the volume on it.
///
/// A storage keeps it as it keeps names and tags: as text, by [`Display`](fmt::Display) and [`FromStr`]. The text has at most
/// 63 characters of `a-z`, `0-9` and `:`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label {
    /// How far the volume is.
    pub stage: Stage,
    /// How its sectors lie.
    pub format: DiskFormat,
    /// Which LUKS it has; `None` for a plain volume.
    pub encryption: Option<EncryptionFormat>,
    /// What the guest sees. A device may be larger than the disk on it, so a raw disk's size is written down nowhere else.
    pub guest: GuestSize,
    /// Tells two attempts at making one volume from each other.
    attempt: u64,
    /// The attempt that made the template that the volume lies on.
    base: Option<u64>,
}

impl Label {
    /// The label of a new attempt at making a volume.
    pub(crate) fn new(
        stage: Stage,
        format: DiskFormat,
        encryption: Option<EncryptionFormat>,
        guest: GuestSize,
    ) -> Self {
        Self {
            stage,
            format,
            encryption,
            guest,
            attempt: uuid::Uuid::new_v4().as_u64_pair().0,
            base: None,
        }
    }

    /// The same volume, on this template.
    pub(crate) fn on(self, template: &Self) -> Self {
        let base = Some(template.attempt);
        Self { base, ..self }
    }

    /// The same volume, on no template.
    pub(crate) fn alone(&self) -> Self {
        Self {
            base: None,
            ..self.clone()
        }
    }

    /// Whether the volume was made on a template and not flattened since.
    #[must_use]
    pub fn is_overlay(&self) -> bool {
        self.base.is_some()
    }

    /// Whether the volume was made on this template and not flattened since.
    pub(crate) fn lies_on(&self, template: &Self) -> bool {
        self.base == Some(template.attempt)
    }

    /// The same volume, so far.
    pub(crate) fn at(&self, stage: Stage) -> Self {
        Self {
            stage,
            ..self.clone()
        }
    }

    /// The same volume with another size.
    pub(crate) fn with_guest(&self, guest: GuestSize) -> Self {
        Self {
            guest,
            ..self.clone()
        }
    }

    /// Whether both are of one attempt at making a volume.
    pub(crate) fn same_attempt(&self, other: &Self) -> bool {
        self.attempt == other.attempt
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encryption = self.encryption.map_or("plain", EncryptionFormat::as_str);
        let (stage, format, guest) = (self.stage.as_str(), self.format, self.guest.get());
        if let Some(base) = self.base {
            // Shorter, so that there is room for one number more.
            let stage = stage.get(..1).unwrap_or(stage);
            return write!(
                f,
                "sr2:{stage}:{encryption}:{guest:x}:{:016x}:{base:016x}",
                self.attempt
            );
        }
        write!(
            f,
            "sr1:{stage}:{format}:{encryption}:{guest}:{:016x}",
            self.attempt
        )
    }
}

/// A text that is no label of this release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the label of a volume: another program wrote it, or another release")]
pub struct ParseLabelError(String);

impl FromStr for Label {
    type Err = ParseLabelError;

    fn from_str(text: &str) -> Result<Self, ParseLabelError> {
        let encryption = |text: &str| match text {
            "plain" => Some(None),
            luks => luks.parse().ok().map(Some),
        };
        let size = |bytes: u64| GuestSize::new(bytes).ok();
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let parsed = || match *text.split(':').collect::<Vec<_>>() {
            ["sr1", stage, format, side, guest, attempt] => Some(Self {
                stage: Stage::ALL.into_iter().find(|s| s.as_str() == stage)?,
                format: format.parse().ok()?,
                encryption: encryption(side)?,
                guest: size(guest.parse().ok()?)?,
                attempt: number(attempt)?,
                base: None,
            }),
            ["sr2", stage, side, guest, attempt, base] => Some(Self {
                stage: Stage::ALL
                    .into_iter()
                    .find(|s| s.as_str().get(..1) == Some(stage))?,
                format: DiskFormat::Qcow2,
                encryption: encryption(side)?,
                guest: size(number(guest)?)?,
                attempt: number(attempt)?,
                base: Some(number(base)?),
            }),
            _ => None,
        };
        // What does not come out as it went in was not written here.
        parsed()
            .filter(|label| label.to_string() == text)
            .ok_or_else(|| ParseLabelError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_comes_back_from_its_text_which_any_storage_can_keep() {
        let largest = GuestSize::new(i64::MAX as u64 & !511).unwrap();
        for stage in Stage::ALL {
            for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
                for encryption in [None, Some(EncryptionFormat::Luks1), Some(EncryptionFormat::Luks2)] {
                    let label = Label::new(stage, format, encryption, largest);
                    let text = label.to_string();
                    assert_eq!(text.parse::<Label>().unwrap(), label);
                    assert!(text.len() <= 63, "{text}");
                    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':';
                    assert!(text.chars().all(plain), "{text}");
                }
            }
        }
    }

    #[test]
    fn an_overlays_label_says_which_template_it_lies_on_and_is_no_longer() {
        let largest = GuestSize::new(i64::MAX as u64 & !511).unwrap();
        let template = || Label::new(Stage::Ready, DiskFormat::Qcow2, None, largest);
        let (template, other) = (template(), template());
        for stage in Stage::ALL {
            for encryption in [None, Some(EncryptionFormat::Luks1)] {
                let overlay = Label::new(stage, DiskFormat::Qcow2, encryption, largest).on(&template);
                let text = overlay.to_string();
                let parsed = text.parse::<Label>().unwrap();
                assert_eq!(parsed, overlay);
                assert!(text.len() <= 63, "{text}");
                assert!(parsed.is_overlay() && parsed.lies_on(&template) && !parsed.lies_on(&other));
                assert!(!parsed.alone().is_overlay() && parsed.alone().same_attempt(&overlay));
            }
        }
        let good = "sr2:r:luks1:100000:0123456789abcdef:00000000000000ff";
        assert_eq!(good.parse::<Label>().unwrap().to_string(), good);
        for text in [
            "sr2:ready:luks1:100000:0123456789abcdef:00000000000000ff",
            "sr2:r:luks1:100000:0123456789abcdef:ff",
            "sr2:r:luks1:100000:0123456789abcdef",
        ] {
            assert_eq!(text.parse::<Label>(), Err(ParseLabelError(text.to_owned())));
        }
    }

    #[test]
    fn a_text_that_is_almost_a_label_is_none() {
        let good = "sr1:ready:raw:luks1:1048576:0123456789abcdef";
        assert_eq!(good.parse::<Label>().unwrap().to_string(), good);
        for text in [
            "",
            "sr2:ready:raw:luks1:1048576:0123456789abcdef",
            "sr1:done:raw:luks1:1048576:0123456789abcdef",
            "sr1:ready:vmdk:luks1:1048576:0123456789abcdef",
            "sr1:ready:raw:luks:1048576:0123456789abcdef",
            "sr1:ready:raw:luks1:1048577:0123456789abcdef",
            "sr1:ready:raw:luks1:+1048576:0123456789abcdef",
            "sr1:ready:raw:luks1:1048576:123456789abcdef",
            "sr1:ready:raw:luks1:1048576:0123456789abcdef:x",
            "sr1:ready:raw:luks1:1048576",
        ] {
            assert_eq!(text.parse::<Label>(), Err(ParseLabelError(text.to_owned())));
        }
    }

    #[test]
    fn two_attempts_at_one_volume_differ() {
        let guest = GuestSize::new(512).unwrap();
        let label = || Label::new(Stage::Begun, DiskFormat::Raw, None, guest);
        let first = label();
        assert!(!first.same_attempt(&label()));
        assert!(first.same_attempt(&first.at(Stage::Ready)));
    }
}
