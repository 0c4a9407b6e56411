use sha2::{Digest, Sha256};
use strongroom_types::VmId;
use uuid::{Builder, Uuid};

/// A UUID of version 8 (RFC 9562) that follows from these texts, which have no NUL: the first bits of a SHA-256. `purpose` keeps UUIDs
/// for different things apart.
pub(crate) fn derived(purpose: &str, texts: &[&str]) -> Uuid {
    let mut hash = Sha256::new();
    for text in std::iter::once(&purpose).chain(texts) {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// The UUID of a virtual machine, the same on every host: it follows from its id.
///
/// Machines are asked for by UUID and never by name. virsh takes a name of digits for a number that libvirt gave to another machine.
#[must_use]
pub fn domain_uuid(id: &VmId) -> Uuid {
    derived("strongroom libvirt domain 1", &[id.as_str()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_the_same_uuid_everywhere() {
        let uuid = |id: &str| domain_uuid(&id.parse().unwrap());
        assert_eq!(uuid("vm-1").to_string(), "8e64a16e-3c83-802d-bf07-1d8470fd50f4");
        assert_ne!(uuid("vm-1"), uuid("vm-2"));
        assert_eq!(uuid("vm-1").get_version_num(), 8);
    }

    #[test]
    fn texts_are_kept_apart() {
        assert_ne!(derived("p", &["ab", "c"]), derived("p", &["a", "bc"]));
        assert_ne!(derived("p", &["q"]), derived("pq", &[]));
    }
}
