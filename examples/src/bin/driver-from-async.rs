//! Calls a synchronous storage driver from an async program: each call is a blocking task, and dropping the future does not
//! leave half a volume, because cancellation is said and awaited.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;

use strongroom_endpoint_selector::RegisteredEndpoints;
use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_secret::Passphrase;
use strongroom_storage_pool::fake::MemoryPool;
use strongroom_storage_pool::{CreateVolume, ErrorKind, OpContext, PoolDriver, VolumeContent, VolumeKey};
use strongroom_types::{
    Call, Cancellation, Capability, DiskFormat, Finding, GuestSize, HostFacts, PoolId, VolumeId,
};
use tokio::task::{JoinSet, spawn_blocking};

fn endpoints(pool: &PoolId) -> Result<RegisteredEndpoints, Box<dyn Error>> {
    let mut facts = HostFacts::new("node-1".parse()?);
    facts.pools.insert(pool.clone());
    for capability in [
        Capability::PlainImages,
        Capability::Qcow2Luks,
        Capability::RawLuks1,
    ] {
        facts
            .capabilities
            .record(capability, Finding::Works("seen".to_owned()));
    }
    let mut endpoints = RegisteredEndpoints::new();
    endpoints.register(Arc::new(MemoryEndpoint::new(facts)));
    Ok(endpoints)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool: PoolId = "gold".parse()?;
    let endpoints = Arc::new(endpoints(&pool)?);
    let driver: Arc<dyn PoolDriver> = Arc::new(MemoryPool::new(pool));
    let stop = Cancellation::new();

    let mut volumes = JoinSet::new();
    for number in 0..4 {
        let (driver, endpoints, stop) = (driver.clone(), endpoints.clone(), stop.clone());
        volumes.spawn(async move {
            // The key is moved into the task and wiped when the task ends, whatever becomes of the future.
            spawn_blocking(move || -> Result<VolumeId, Box<dyn Error + Send + Sync>> {
                let call = Call::new().with_cancellation(stop);
                let volume: VolumeId = format!("vol-{number}").parse()?;
                let key = Passphrase::generate()?;
                let request = CreateVolume::new(
                    &volume,
                    GuestSize::new(1 << 30)?,
                    DiskFormat::Qcow2,
                    VolumeKey::Encrypted(&key),
                    VolumeContent::Blank,
                );
                driver.create(&OpContext::new(&call, &*endpoints), &request)?;
                Ok(volume)
            })
            .await
        });
    }
    while let Some(made) = volumes.join_next().await {
        println!("made {}", made??.map_err(|e| e as Box<dyn Error>)?);
    }

    stop.cancel();
    let call = Call::new().with_cancellation(stop);
    let volume: VolumeId = "too-late".parse()?;
    let request = CreateVolume::new(
        &volume,
        GuestSize::new(1 << 30)?,
        DiskFormat::Qcow2,
        VolumeKey::Plain,
        VolumeContent::Blank,
    );
    match driver.create(&OpContext::new(&call, &*endpoints), &request) {
        Ok(_) => Err("a cancelled call made a volume".into()),
        Err(e) if e.kind() == ErrorKind::Cancelled => {
            println!("after cancellation: {e}");
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}
