use strongroom_types::{PassphraseId, VolumeId};
use uuid::Uuid;

use crate::identity::derived;
use crate::xml::Element;

/// What the use of every secret of ours begins with; nobody else's does.
const PREFIX: &str = "/strongroom/";

const PURPOSE: &str = "strongroom libvirt secret 1";

/// How libvirt knows a key: by the volume and by which of its passphrases it is.
///
/// The UUID follows from both, so every host calls a key by the same name, a changed passphrase is another secret, and nothing has to
/// be remembered. It says nothing about the passphrase.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName {
    volume: VolumeId,
    passphrase: PassphraseId,
}

impl SecretName {
    /// The secret of this passphrase of this volume.
    #[must_use]
    pub fn new(volume: &VolumeId, passphrase: &PassphraseId) -> Self {
        Self {
            volume: volume.clone(),
            passphrase: passphrase.clone(),
        }
    }

    /// The volume.
    #[must_use]
    pub fn volume(&self) -> &VolumeId {
        &self.volume
    }

    /// Which passphrase of the volume.
    #[must_use]
    pub fn passphrase(&self) -> &PassphraseId {
        &self.passphrase
    }

    /// The UUID by which domain and disk XML refers to it: version 8 (RFC 9562), the first bits of a SHA-256.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        derived(PURPOSE, &[self.volume.as_str(), self.passphrase.as_str()])
    }

    /// What libvirt is told that it is used for, unique on a host: `/strongroom/VOLUME/PASSPHRASE`. libvirt's schema wants a path there, and looks for none.
    #[must_use]
    pub fn usage(&self) -> String {
        format!("{PREFIX}{}/{}", self.volume, self.passphrase)
    }

    /// The name in what libvirt says a secret is used for, when the secret is ours. A secret that only calls itself so, under another
    /// UUID, is somebody else's.
    pub(crate) fn recognise(uuid: &str, usage: &str) -> Option<Self> {
        let (volume, passphrase) = usage.strip_prefix(PREFIX)?.split_once('/')?;
        let name = Self::new(&volume.parse().ok()?, &passphrase.parse().ok()?);
        (Uuid::try_parse(uuid).ok()? == name.uuid()).then_some(name)
    }

    /// The secret as libvirt defines it: **never on a disk, never given back**. With `ephemeral='no'` libvirt would write the key
    /// to `/etc/libvirt/secrets`.
    #[must_use]
    pub fn to_element(&self) -> Element {
        let usage = Element::new("usage")
            .with("type", "volume")
            .holding(Element::new("volume").saying(self.usage()));
        Element::new("secret")
            .with("ephemeral", "yes")
            .with("private", "yes")
            .holding(Element::new("uuid").saying(self.uuid().to_string()))
            .holding(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(volume: &str, passphrase: &str) -> SecretName {
        SecretName::new(&volume.parse().unwrap(), &passphrase.parse().unwrap())
    }

    #[test]
    fn the_uuid_follows_from_volume_and_passphrase_and_stays_what_it_is() {
        let secret = name("vol-1", "pp-1");
        assert_eq!(secret.uuid(), name("vol-1", "pp-1").uuid());
        assert_eq!(
            secret.uuid().to_string(),
            "7a8ec538-1e70-8997-a13b-c582eed811a8",
            "other hosts and versions have to find it"
        );
        assert_eq!(secret.uuid().get_version_num(), 8);
        for other in [
            name("vol-1", "pp-2"),
            name("vol-2", "pp-1"),
            name("vol-1p", "p-1"),
            name("pp-1", "vol-1"),
        ] {
            assert_ne!(other.uuid(), secret.uuid(), "{other:?}");
        }
    }

    #[test]
    fn only_a_secret_whose_uuid_fits_its_use_is_ours() {
        let secret = name("vol-1", "pp-1");
        let uuid = secret.uuid().to_string();
        assert_eq!(
            SecretName::recognise(&uuid, "/strongroom/vol-1/pp-1"),
            Some(secret)
        );
        for (uuid, usage) in [
            (uuid.as_str(), "/strongroom/vol-1/pp-2"),
            (&uuid, "other/vol-1/pp-1"),
            (&uuid, "/strongroom/vol-1/pp-1/x"),
            (&uuid, "/strongroom/vol-1"),
            ("00000000-0000-0000-0000-000000000000", "/strongroom/vol-1/pp-1"),
            ("none", "/strongroom/vol-1/pp-1"),
        ] {
            assert_eq!(SecretName::recognise(uuid, usage), None, "{uuid} {usage}");
        }
    }

    #[test]
    fn the_definition_is_ephemeral_and_private() {
        let xml = name("vol-1", "pp-1").to_element();
        assert_eq!(
            (xml.attribute("ephemeral"), xml.attribute("private")),
            (Some("yes"), Some("yes"))
        );
    }
}
