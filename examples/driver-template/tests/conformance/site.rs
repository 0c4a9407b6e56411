use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

use strongroom_driver_template::{Array, TemplatePool};
use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_pool_conformance::Site;
use strongroom_storage_pool::PoolError;
use strongroom_types::{Call, PoolId};

/// FILL IN 7: a storage for the suite, which makes and deletes volumes there. Here it is a directory.
pub(crate) fn of(directory: &Path) -> Result<Site, Box<dyn Error>> {
    let (pool, other): (PoolId, PoolId) = ("shelf".parse()?, "other".parse()?);
    // This machine as a host, with the tools that it has and what they can do.
    let agent = HostAgent::new(
        "node-1".parse()?,
        ToolPaths::system(),
        Arc::new(SystemRunner::new()),
    );
    agent.probe(&Call::new(), directory)?;
    agent.reach(pool.clone());
    let storage = directory.join("storage");
    std::fs::create_dir_all(&storage)?;
    let (listed, searched) = (storage.clone(), storage.clone());
    // Each time a new driver on the same storage, as after a restart.
    let driver_of = move |pool: PoolId| {
        let storage = storage.clone();
        move || {
            Ok::<_, PoolError>(TemplatePool::new(
                pool.clone(),
                Array::new(storage.clone(), 1 << 30),
            ))
        }
    };
    Ok(Site::new(driver_of(pool))
        .with_other_pool(driver_of(other))
        .with_listing(move || names(&listed))
        .with_storage(move || Ok(vec![searched.clone()]))
        .with_host(Arc::new(agent)))
}

/// All that is in the storage, so that the suite sees what a failure leaves behind.
fn names(storage: &Path) -> io::Result<BTreeSet<String>> {
    let entries = std::fs::read_dir(storage)?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}
