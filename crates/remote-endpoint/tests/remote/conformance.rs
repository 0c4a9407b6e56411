use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::DirectoryFacts;
use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_pool_conformance::{Site, run};
use strongroom_pool_file::{FilePool, FilePoolConfig};
use strongroom_types::{ByteSize, Capability, Finding, GuestSize, HostFacts, PoolId};

use crate::rig::{Certificates, host, remote, serve};

/// The suite's faults are injected in front of the remote endpoint, so that they meet the network and not the storage.
#[test]
fn a_pool_whose_host_is_elsewhere_keeps_every_promise_of_a_driver() {
    let certificates = Certificates::new();
    let main: PoolId = "main".parse().unwrap();
    let mut facts = HostFacts::new(host());
    facts.pools.insert(main.clone());
    for capability in Capability::ALL {
        facts
            .capabilities
            .record(capability, Finding::Works("seen".to_owned()));
    }
    let node = Arc::new(MemoryEndpoint::new(facts));
    let (total, free) = (ByteSize::gib(4), ByteSize::gib(3));
    let mut directory = DirectoryFacts::new("/pool".into(), 1, "ext4".into(), total, free, true);
    directory.pool = Some(main.clone());
    node.set_directory(directory);
    let served = serve(&certificates.agent, node.clone());
    let remote = remote(&served, &certificates.control);
    let config = move || FilePoolConfig::new(main.clone(), "/pool".into());
    let site = Site::new(move || FilePool::open(config()))
        .with_host(Arc::new(remote))
        .with_images(move |name, content| {
            let path = Path::new("/images").join(name);
            let size = u64::try_from(content.len()).unwrap();
            node.add_image(&path, ByteSize::bytes(size));
            node.add_blank(&path, GuestSize::new(size).unwrap());
            Ok(path)
        });
    let report = run(&site);
    assert!(report.passed(), "{report}");
}
