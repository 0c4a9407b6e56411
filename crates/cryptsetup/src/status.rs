use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use strongroom_types::{GuestSize, SECTOR};

/// Whether a volume is open under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappingStatus {
    /// No mapping has this name.
    Inactive,
    /// It is open.
    Active(ActiveMapping),
}

/// An open volume.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActiveMapping {
    /// Whether somebody uses the mapping: it is mounted or held open.
    pub in_use: bool,
    /// What it is in cryptsetup's words, such as `LUKS1`.
    pub kind: String,
    /// The cipher, such as `aes-xts-plain64`.
    pub cipher: String,
    /// The device below. `None` when it is gone.
    pub device: Option<PathBuf>,
    /// What a guest sees.
    pub size: GuestSize,
    /// Whether it may be read only.
    pub read_only: bool,
    /// Whether discards reach the storage.
    pub discards: bool,
}

/// Reads what `cryptsetup status` prints; `None` when it is nothing of the kind.
pub(crate) fn active(output: &[u8]) -> Option<ActiveMapping> {
    let mut lines = output.split(|byte| *byte == b'\n');
    let first = String::from_utf8_lossy(lines.next()?);
    let in_use = if first.ends_with(" is active and is in use.") {
        true
    } else if first.ends_with(" is active.") {
        false
    } else {
        return None;
    };
    let fields: Vec<(String, &[u8])> = lines
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at(colon);
            let name = String::from_utf8_lossy(name).trim().to_owned();
            Some((name, value.get(1..)?.trim_ascii()))
        })
        .collect();
    let bytes = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
    let field = |name: &str| bytes(name).map(|value| String::from_utf8_lossy(value).into_owned());
    // The number comes first; its unit is spelled in more than one way and has always been 512 bytes.
    let sectors: u64 = field("size")?.split_whitespace().next()?.parse().ok()?;
    let device = bytes("device").filter(|d| *d != b"(null)");
    Some(ActiveMapping {
        in_use,
        kind: field("type")?,
        cipher: field("cipher")?,
        device: device.map(|d| PathBuf::from(OsString::from_vec(d.to_vec()))),
        size: GuestSize::new(sectors.checked_mul(SECTOR)?).ok()?,
        read_only: field("mode")?.starts_with("readonly"),
        discards: field("flags").is_some_and(|flags| flags.split_whitespace().any(|f| f == "discards")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "/dev/mapper/vol is active and is in use.\n  type:    LUKS1\n  cipher:  aes-xts-plain64\n  \
        keysize: 512 bits\n  key location: dm-crypt\n  device:  /dev/loop0\n  loop:    /srv/a: b\n  sector size:  512\n  \
        offset:  4096 sectors\n  size:    126976 sectors\n  mode:    read/write\n  flags:   discards \n";

    #[test]
    fn an_open_volume_is_read_field_by_field() {
        let mapping = active(OPEN.as_bytes()).unwrap();
        assert_eq!(
            mapping,
            ActiveMapping {
                in_use: true,
                kind: "LUKS1".into(),
                cipher: "aes-xts-plain64".into(),
                device: Some("/dev/loop0".into()),
                size: GuestSize::new(62 << 20).unwrap(),
                read_only: false,
                discards: true,
            }
        );
    }

    #[test]
    fn variants_of_the_words_are_understood() {
        let idle = OPEN
            .replace(" and is in use", "")
            .replace("read/write", "readonly")
            .replace("discards", "");
        let mapping = active(idle.as_bytes()).unwrap();
        assert!(!mapping.in_use && mapping.read_only && !mapping.discards);
        let units = OPEN.replace("126976 sectors", "126976 [512-byte units] (65011712 [bytes])");
        assert_eq!(active(units.as_bytes()).unwrap().size.get(), 62 << 20);
        let orphan = OPEN.replace("/dev/loop0", "(null)");
        assert_eq!(active(orphan.as_bytes()).unwrap().device, None);
    }

    #[test]
    fn anything_else_is_no_status() {
        for text in [
            "",
            "/dev/mapper/vol is inactive.\n",
            "vol is active.\n",
            "\u{fffd}\n:\n",
        ] {
            assert_eq!(active(text.as_bytes()), None);
        }
        assert_eq!(
            active(OPEN.replace("126976", "99999999999999999999").as_bytes()),
            None
        );
        assert_eq!(active(OPEN.replace("size: ", "sighs: ").as_bytes()), None);
    }
}
