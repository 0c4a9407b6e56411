//! The names of the kept copies of templates, which say what is in them.

use strongroom_endpoint_selector::{BaseImage, ContentDigest, DiskFacts, FileStamp};
use strongroom_types::{DiskFormat, TemplateId};

/// The formats that a copy may have.
pub(crate) const FORMATS: [DiskFormat; 2] = [DiskFormat::Raw, DiskFormat::Qcow2];

/// The ending of a note that a copy was read and found to hold what its name says.
const SEEN: &str = "seen";

/// A kept copy of a template. The digest is in its name, so that another content is another copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateCopy {
    pub(crate) template: TemplateId,
    /// The SHA-256 of what a guest reads of it, in hexadecimal; `None` where nobody said what the template holds.
    pub(crate) sha256: Option<String>,
    pub(crate) format: DiskFormat,
}

impl TemplateCopy {
    pub(crate) fn new(template: &TemplateId, digest: Option<ContentDigest>, format: DiskFormat) -> Self {
        Self {
            template: template.clone(),
            sha256: digest.map(|digest| digest.to_string()),
            format,
        }
    }

    pub(crate) fn name(&self) -> String {
        let Self {
            template,
            sha256,
            format,
        } = self;
        match sha256 {
            Some(sha256) => format!("{template}.{sha256}.{format}"),
            None => format!("{template}.{format}"),
        }
    }

    /// The copy that has this name; `None` for a name that no copy has.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let (stem, ending) = name.rsplit_once('.')?;
        let format = FORMATS.into_iter().find(|f| f.to_string() == ending)?;
        let (template, sha256) = match stem.split_once('.') {
            Some((template, sha256)) => (template, Some(sha256)),
            None => (stem, None),
        };
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if sha256.is_some_and(|text| text.len() != 64 || !text.bytes().all(digit)) {
            return None;
        }
        Some(Self {
            template: template.parse().ok()?,
            sha256: sha256.map(str::to_owned),
            format,
        })
    }

    /// The copy that a disk lies on, if its base is one.
    pub(crate) fn of_base(base: &BaseImage) -> Option<Self> {
        let name = base.path.file_name().and_then(|name| name.to_str())?;
        Self::of_name(name).filter(|copy| copy.format == base.format)
    }

    /// The name of the note that the copy, as it has this stamp, was read and holds what its name says.
    pub(crate) fn seen(&self, stamp: &FileStamp) -> String {
        let stamp = stamp.to_string().replace(' ', "_");
        format!("{}.{stamp}.{SEEN}", self.name())
    }

    /// Whether this is the name of such a note for this copy, with whatever stamp.
    pub(crate) fn is_noted_by(&self, name: &str) -> bool {
        let rest = name
            .strip_prefix(&self.name())
            .and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| rest.ends_with(SEEN))
    }
}

/// The template that a disk lies on: `Ok(None)` when it stands alone, and an error when its base is no kept copy of a template.
pub(crate) fn template_of(facts: &DiskFacts) -> Result<Option<TemplateId>, String> {
    let Some(base) = &facts.base else { return Ok(None) };
    match TemplateCopy::of_base(base) {
        Some(copy) => Ok(Some(copy.template)),
        None => Err(format!(
            "{} lies on {}, which is no template of the pool",
            facts.location,
            base.path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_types::GuestSize;

    #[test]
    fn the_name_of_a_copy_says_template_content_and_format() {
        let digest = ContentDigest::new([0xa7; 32], GuestSize::new(512).unwrap());
        let template = "t".parse().unwrap();
        let named = TemplateCopy::new(&template, Some(digest), DiskFormat::Qcow2);
        assert_eq!(named.name(), format!("t.{}.qcow2", "a7".repeat(32)));
        let bare = TemplateCopy::new(&template, None, DiskFormat::Raw);
        assert_eq!(bare.name(), "t.raw");
        for copy in [named, bare] {
            assert_eq!(TemplateCopy::of_name(&copy.name()), Some(copy.clone()));
            let seen = copy.seen(&FileStamp::new(1, 2, -3, 4));
            assert_eq!(seen, format!("{}.1_2_-3_4.seen", copy.name()));
            assert!(copy.is_noted_by(&seen));
            assert_eq!(TemplateCopy::of_name(&seen), None);
        }
    }

    #[test]
    fn other_names_are_no_copies() {
        let (short, large) = ("a7".repeat(31), "A7".repeat(32));
        for name in [
            "t",
            "t.luks",
            "T.raw",
            ".raw",
            "t..raw",
            &format!("t.{short}.raw"),
            &format!("t.{large}.raw"),
        ] {
            assert_eq!(TemplateCopy::of_name(name), None, "{name}");
        }
        let copy = TemplateCopy::of_name("t.raw").unwrap();
        assert!(!copy.is_noted_by("t.raw") && !copy.is_noted_by("t.raw.old"));
    }
}
