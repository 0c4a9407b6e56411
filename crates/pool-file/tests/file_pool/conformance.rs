use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use strongroom_pool_conformance::{Site, run};
use strongroom_pool_file::{FilePool, FilePoolConfig};
use strongroom_types::PoolId;

use crate::machine::{Machine, agent};

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
    let site = Site::new(move || FilePool::open(main.clone()))
        .with_other_pool(move || FilePool::open(other.clone()))
        .with_listing(move || listing(&pool))
        .with_host(agent);
    let report = run(&site);
    assert!(report.passed(), "{report}");
}
