use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use strongroom_pool_conformance::{Site, run};
use strongroom_pool_file::{FilePool, FilePoolConfig};
use strongroom_types::{ByteSize, Capability, PoolId};

use crate::machine::{Machine, agent};
use crate::site::{config, guest, host};

/// All that lies in the pool, but for what belongs to the pool itself.
fn listing(pool: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for directory in [pool.to_owned(), pool.join("templates")] {
        match std::fs::read_dir(&directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries? {
                    names.insert(entry?.file_name().to_string_lossy().into_owned());
                }
            }
        }
    }
    for own in [".strongroom-pool", "templates"] {
        names.remove(own);
    }
    Ok(names)
}

#[test]
fn the_pool_keeps_every_promise_of_a_driver_with_the_real_tools() {
    let machine = Machine::new();
    let config = |id: &str| {
        let id: PoolId = id.parse().unwrap();
        FilePoolConfig::new(id, machine.pool())
    };
    let agent = agent();
    agent.reach("other".parse().unwrap());
    let (main, other, pool) = (config("main"), config("other"), machine.pool());
    let stored = pool.clone();
    let site = Site::new(move || FilePool::open(main.clone()))
        .with_other_pool(move || FilePool::open(other.clone()))
        .with_listing(move || listing(&pool))
        .with_storage(move || Ok(vec![stored.clone()]))
        .with_host(agent);
    let report = run(&site);
    assert!(report.passed(), "{report}");
    // A look that sees nothing is no failure of a check.
    let mut left_out = report.not_tested().map(|result| result.check.name);
    assert!(
        left_out.all(|name| name != "no-key-is-in-the-storage"),
        "{report}"
    );
}

#[test]
fn the_pool_keeps_every_promise_of_a_driver_with_a_host_in_memory() {
    let node = host("node-1", &Capability::ALL);
    let images = node.clone();
    let site = Site::new(|| FilePool::open(config()))
        .with_host(node)
        .with_images(move |name, content| {
            let path = Path::new("/images").join(name);
            let size = u64::try_from(content.len()).unwrap();
            images.add_image(&path, ByteSize::bytes(size));
            images.add_blank(&path, guest(size));
            Ok(path)
        });
    let report = run(&site);
    assert!(report.passed(), "{report}");
}
