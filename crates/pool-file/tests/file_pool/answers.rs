use std::sync::Arc;

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{
    DiskFacts, Endpoint, EndpointError, HostAnswer, HostCommand, RegisteredEndpoints,
};
use strongroom_pool_file::FilePool;
use strongroom_storage_pool::SnapshotAction::Create;
use strongroom_storage_pool::{CreateVolume, ErrorKind, OpContext, PoolDriver, VolumeContent, VolumeKey};
use strongroom_types::{Call, Capability, DiskFormat, HostFacts};

use crate::site::{MIB, Site, config, guest, host, in_memory, refused, volume};

type Edit = fn(&mut DiskFacts);

/// A host that works like another one, but says other things of itself and of its disks.
#[derive(Debug)]
struct Disguised {
    inner: Arc<MemoryEndpoint>,
    facts: HostFacts,
    edit: Edit,
}

impl Endpoint for Disguised {
    fn host(&self) -> HostFacts {
        self.facts.clone()
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        let mut answer = self.inner.run(call, command)?;
        if let HostAnswer::Disk(facts) = &mut answer {
            (self.edit)(facts);
        }
        Ok(answer)
    }
}

fn disguised(inner: &Arc<MemoryEndpoint>, facts: HostFacts, edit: Edit) -> RegisteredEndpoints {
    let mut hosts = RegisteredEndpoints::new();
    hosts.register(Arc::new(Disguised {
        inner: inner.clone(),
        facts,
        edit,
    }));
    hosts
}

#[test]
fn work_with_a_key_takes_a_host_that_can_encrypt() {
    let (mut site, node) = in_memory(config());
    for (name, format, word) in [
        ("v", DiskFormat::Qcow2, "lacks qcow2-luks"),
        ("w", DiskFormat::Raw, "lacks raw-luks1"),
    ] {
        site.create(name, MIB, format, site.encrypted()).unwrap();
        let capable = std::mem::take(&mut site.hosts);
        site.hosts = disguised(&node, host("bare", &[Capability::PlainImages]).host(), |_| ());
        refused(
            site.grow(name, 2 * MIB, site.encrypted()),
            ErrorKind::NoHost,
            &[word],
        );
        refused(
            site.create(name, MIB, format, site.encrypted()),
            ErrorKind::NoHost,
            &[word],
        );
        assert_eq!(site.get(name).unwrap().unwrap().guest, guest(MIB));
        site.hosts = capable;
        site.grow(name, 2 * MIB, site.encrypted()).unwrap();
    }
    let bare = disguised(&node, host("bare", &[Capability::PlainImages]).host(), |_| ());
    site.hosts = bare;
    refused(
        site.snapshot("v", Create, site.encrypted()),
        ErrorKind::NoHost,
        &["lacks qcow2-luks"],
    );
}

#[test]
fn an_answer_that_says_plain_for_encrypted_or_another_size_is_an_error() {
    let edits: [(Edit, ErrorKind); 3] = [
        (|facts| facts.encryption = None, ErrorKind::WrongDisk),
        (|facts| facts.format = DiskFormat::Raw, ErrorKind::WrongDisk),
        (|facts| facts.guest = guest(MIB - 512), ErrorKind::Tool),
    ];
    for (edit, kind) in edits {
        let (_, node) = in_memory(config());
        let site = Site::new(config(), disguised(&node, node.host(), edit));
        let refusal = site.create("v", MIB, DiskFormat::Qcow2, site.encrypted());
        refused(refusal, kind, &["main", "/pool/v.luks.qcow2"]);
    }
}

#[test]
fn a_grown_volume_of_another_size_than_was_asked_for_is_an_error() {
    let (mut site, node) = in_memory(config());
    site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    site.hosts = disguised(&node, node.host(), |facts| facts.guest = guest(MIB));
    let refusal = site.grow("v", 2 * MIB, VolumeKey::Plain);
    refused(
        refusal,
        ErrorKind::Tool,
        &["/pool/v.raw", "1048576 bytes", "2097152"],
    );
}

#[test]
fn the_keys_of_a_pool_are_in_no_text() {
    let (site, node) = in_memory(config());
    let pool = FilePool::open(config()).unwrap();
    let key = strongroom_secret::Passphrase::import(b"canary-of-the-mine".to_vec().into()).unwrap();
    let (call, id) = (Call::new(), volume("v"));
    let cx = OpContext::new(&call, &site.hosts);
    site.create("v", MIB, DiskFormat::Raw, site.encrypted()).unwrap();
    let (key, content) = (VolumeKey::Encrypted(&key), VolumeContent::Blank);
    let request = CreateVolume::new(&id, guest(MIB), DiskFormat::Raw, key, content);
    let error = pool.create(&cx, &request).unwrap_err();
    let texts = format!("{error} {error:?} {pool:?} {node:?} {request:?}");
    assert!(
        texts.contains("does not open") && texts.contains("FilePool"),
        "{texts}"
    );
    assert!(!texts.contains("canary"), "{texts}");
}
