//! A storage service that encrypts, over HTTP, and what a host, a thief and a restarted service have of it.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};

use strongroom_endpoint_selector::RegisteredEndpoints;
use strongroom_http_drivers::InStoragePool;
use strongroom_http_storage::Service;
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{CreateVolume, ErrorKind, OpContext, PoolDriver, VolumeContent, VolumeKey};
use strongroom_types::{Call, DiskFormat, GuestSize, HostFacts, HostId, VolumeId};

const TEXT: &[u8] = b"what the guest wrote";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let service = Service::start(directory.path(), "127.0.0.1:0".parse()?)?;
    let pool = InStoragePool::new("shelf".parse()?, service.address());

    // A host of which nothing is asked but that it reaches the storage: it never sees the key.
    let node: HostId = "node-1".parse()?;
    let mut facts = HostFacts::new(node.clone());
    facts.pools.insert(pool.pool().clone());
    let mut hosts = RegisteredEndpoints::new();
    hosts.register(std::sync::Arc::new(
        strongroom_endpoint_selector::fake::MemoryEndpoint::new(facts),
    ));
    let call = Call::new();
    let cx = OpContext::new(&call, &hosts);

    let (volume, key): (VolumeId, _) = ("vol-1".parse()?, Passphrase::generate()?);
    let size = GuestSize::new(8 << 20)?;
    let request = |key| CreateVolume::new(&volume, size, DiskFormat::Raw, key, VolumeContent::Blank);
    let made = pool.create(&cx, &request(VolumeKey::Encrypted(&key)))?;
    println!("made {}: {}, encrypted by the storage", made.id, made.guest);

    let place = pool.attach(&cx, &volume, &node)?;
    let mut disk = File::options().write(true).open(place.location.path())?;
    disk.write_all(TEXT)?;
    disk.sync_all()?;
    drop(disk);
    let mut read = vec![0; TEXT.len()];
    File::open(place.location.path())?.read_exact(&mut read)?;
    println!(
        "the host reads at {}: {:?}",
        place.location,
        String::from_utf8_lossy(&read)
    );

    let kept = fs::read(directory.path().join("volumes/vol-1/blocks"))?;
    let in_clear = kept.windows(TEXT.len()).any(|window| window == TEXT);
    println!("whoever steals the disks of the storage reads it: {in_clear}");

    pool.detach(&cx, &volume, &node)?;
    let gone = File::open(place.location.path()).is_err();
    println!("after the detach the host finds nothing there: {gone}");

    let other = Passphrase::generate()?;
    let wrong = pool.create(&cx, &request(VolumeKey::Encrypted(&other)));
    println!("another key: {}", said(&wrong));

    // The service forgets keys when it ends. The volume is there, and locked until somebody shows its key.
    drop(service);
    let service = Service::start(directory.path(), "127.0.0.1:0".parse()?)?;
    let pool = InStoragePool::new("shelf".parse()?, service.address());
    let locked = pool.attach(&cx, &volume, &node);
    println!("after a restart: {}", said(&locked));
    let again = pool.create(&cx, &request(VolumeKey::Encrypted(&key)))?;
    File::open(pool.attach(&cx, &volume, &node)?.location.path())?.read_exact(&mut read)?;
    println!(
        "the same create again shows the key, and the guest's text is there: {}",
        read == TEXT
    );

    let kinds = [wrong.err().map(|e| e.kind()), locked.err().map(|e| e.kind())];
    let refused = kinds == [Some(ErrorKind::WrongKey), Some(ErrorKind::PermissionDenied)];
    if !in_clear && gone && refused && read == TEXT && again.guest == made.guest {
        Ok(())
    } else {
        Err("a check did not hold".into())
    }
}

fn said<T>(outcome: &Result<T, strongroom_storage_pool::PoolError>) -> String {
    outcome
        .as_ref()
        .map_or_else(ToString::to_string, |_| "accepted".to_owned())
}
