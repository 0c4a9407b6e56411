//! Both drivers against every sentence of their contract, on the real service and with a host that has the real tools.
#![cfg(test)]

mod storage_guest;

use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::Endpoint;
use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_http_drivers::{InStoragePool, OnHostPool};
use strongroom_http_storage::Service;
use strongroom_pool_conformance::{Site, run};
use strongroom_storage_pool::PoolError;
use strongroom_types::{Call, PoolId};

use storage_guest::StorageGuest;

fn pool(name: &str) -> PoolId {
    name.parse().unwrap()
}

fn node(scratch: &Path) -> Arc<dyn Endpoint> {
    let runner = Arc::new(SystemRunner::new());
    let agent = HostAgent::new("node-1".parse().unwrap(), ToolPaths::system(), runner);
    agent.probe(&Call::new(), scratch).unwrap();
    agent.reach(pool("shelf"));
    Arc::new(agent)
}

/// What lies in the directory of the service for a volume: what a thief of its disks would have.
fn with_stored(site: Site, directory: &Path) -> Site {
    let (volumes, listed) = (directory.join("volumes"), directory.join("volumes"));
    let searched = volumes.clone();
    let site = site.with_storage(move || Ok(vec![searched.clone()]));
    let site = site.with_listing(move || {
        let entries = std::fs::read_dir(&listed)?;
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    });
    site.with_stored(move |volume, _| {
        let mut all = std::fs::read(volumes.join(volume.as_str()).join("blocks"))?;
        all.extend(std::fs::read(volumes.join(volume.as_str()).join("record.json"))?);
        Ok(all)
    })
}

#[test]
fn the_driver_whose_storage_encrypts_keeps_its_contract() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let at = service.address();
    let driver_of = move |name| move || Ok::<_, PoolError>(InStoragePool::new(pool(name), at));
    let site = Site::new(driver_of("shelf"))
        .with_other_pool(driver_of("other"))
        .with_host(node(directory.path()))
        .with_guest(Arc::new(StorageGuest::new(node(directory.path()), at)));
    let report = run(&with_stored(site, directory.path()));
    assert!(report.passed(), "{report}");
}

#[test]
fn the_driver_whose_hosts_encrypt_keeps_its_contract() {
    let directory = tempfile::tempdir().unwrap();
    let service = Service::start(directory.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
    let at = service.address();
    let driver_of = move |name| move || Ok::<_, PoolError>(OnHostPool::new(pool(name), at));
    let site = Site::new(driver_of("shelf"))
        .with_other_pool(driver_of("other"))
        .with_host(node(directory.path()));
    let report = run(&with_stored(site, directory.path()));
    assert!(report.passed(), "{report}");
}
