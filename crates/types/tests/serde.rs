//! What is written as JSON comes back as it was, and what no program wrote is checked like what is typed.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its input has failed")]

use serde::de::DeserializeOwned;
use strongroom_types::{
    ByteSize, Capability, DeviceSize, DiskFormat, EncryptionFormat, Finding, GuestSize, HostFacts, HostState,
    PayloadOffset, VolumeId,
};

#[track_caller]
fn written<T: serde::Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, json: &str) {
    assert_eq!(serde_json::to_string(value).unwrap(), json);
    assert_eq!(serde_json::from_str::<T>(json).unwrap(), *value);
}

#[test]
fn values_are_written_by_their_names_and_numbers() {
    written(&"vol-1".parse::<VolumeId>().unwrap(), "\"vol-1\"");
    written(&GuestSize::new(1 << 20).unwrap(), "1048576");
    written(&ByteSize::gib(1), "1073741824");
    written(&PayloadOffset::LUKS1_CRYPTSETUP, "2097152");
    written(&DiskFormat::Qcow2, "\"qcow2\"");
    written(&EncryptionFormat::Luks1, "\"luks1\"");
    written(&HostState::Maintenance, "\"maintenance\"");
    for capability in Capability::ALL {
        written(&capability, &format!("{:?}", capability.as_str()));
    }
}

#[test]
fn the_facts_of_a_host_come_back_as_they_were() {
    let mut facts = HostFacts::new("node-1".parse().unwrap());
    facts.state = HostState::Disabled;
    facts
        .capabilities
        .record(Capability::Qcow2Luks, Finding::Works("made one".into()));
    facts
        .capabilities
        .record(Capability::Luks2, Finding::Missing("no cryptsetup".into()));
    facts.tools.insert("qemu-img".into(), "10.0.2".into());
    facts.pools.insert("gold".parse().unwrap());
    facts.zone = Some("z1".parse().unwrap());
    facts.free_memory = ByteSize::gib(3);
    let json = serde_json::to_string(&facts).unwrap();
    assert!(json.contains("\"qcow2-luks\":{\"works\":\"made one\"}"), "{json}");
    assert_eq!(serde_json::from_str::<HostFacts>(&json).unwrap(), facts);
}

#[track_caller]
fn refused<T: DeserializeOwned + std::fmt::Debug>(json: &str, word: &str) {
    let error = serde_json::from_str::<T>(json).unwrap_err().to_string();
    assert!(error.contains(word), "{word:?} is not in {error:?}");
}

#[test]
fn what_is_read_back_is_checked_like_what_is_typed() {
    refused::<VolumeId>("\"../up\"", "an id consists of");
    refused::<VolumeId>("\"\"", "1 to 64");
    refused::<GuestSize>("0", "at least one sector");
    refused::<GuestSize>("1000", "multiple of 512");
    refused::<DeviceSize>("18446744073709551615", "more than a disk can have");
    refused::<PayloadOffset>("1000", "multiple of 512");
    refused::<DiskFormat>("\"vmdk\"", "vmdk");
    refused::<EncryptionFormat>("\"luks3\"", "luks3");
    refused::<Capability>("\"teleport\"", "teleport");
}
