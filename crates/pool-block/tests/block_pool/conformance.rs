//! The suite for every driver, on a host in memory and on loop devices with real tools.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_pool_block::{BlockPool, BlockStorage, DeviceShelf, ShelfDevice};
use strongroom_pool_conformance::{Report, Site, run};
use strongroom_storage_pool::{Attachment, PoolError};
use strongroom_types::{ByteSize, Call, GuestSize, PoolId, VolumeId};

use crate::array::Array;
use crate::machine::Machine;
use crate::site::{MIB, Memory, pool_id};

/// Real tools take their time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Names without those of templates, which stay when a volume goes.
fn of_volumes(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let names = names.into_iter();
    names.filter(|name| !name.starts_with("kept-template-")).collect()
}

/// What is on a shelf: the volumes that have a device.
fn listing(shelf: DeviceShelf) -> impl Fn() -> io::Result<BTreeSet<String>> {
    move || {
        let volumes = shelf.volumes(&Call::new()).map_err(io::Error::other)?;
        Ok(of_volumes(volumes.iter().map(ToString::to_string)))
    }
}

/// A shelf in this file, as a pool and as another one that has no business there.
fn on_shelf(file: PathBuf, devices: Vec<ShelfDevice>) -> Site {
    let shelf = move |pool: PoolId| DeviceShelf::open(pool, file.clone(), devices.clone());
    let other = shelf.clone();
    let listed = shelf(pool_id()).unwrap();
    Site::new(move || Ok::<_, PoolError>(BlockPool::new(shelf(pool_id())?).with_qcow2_room(200)))
        .with_other_pool(move || Ok::<_, PoolError>(BlockPool::new(other("tapes".parse().unwrap())?)))
        .with_listing(listing(listed))
}

/// Whether keys were searched for in the storage: a look that sees nothing is no failure of a check.
fn looked_for_keys(report: &Report) -> bool {
    let mut left_out = report.not_tested();
    left_out.all(|result| result.check.name != "no-key-is-in-the-storage")
}

#[test]
fn a_pool_of_devices_keeps_the_contract_on_a_host_in_memory() {
    let memory = Memory::new(&[64 * MIB; 12]);
    let images = Arc::new(Mutex::new(BTreeMap::<PathBuf, Vec<u8>>::new()));
    let put = {
        let (images, node) = (Arc::clone(&images), Arc::clone(&memory.node));
        move |name: &str, bytes: &[u8]| {
            let path = Path::new("/images").join(name);
            node.add_image(&path, ByteSize::bytes(bytes.len() as u64));
            images.lock().unwrap().insert(path.clone(), bytes.to_vec());
            Ok(path)
        }
    };
    let node = Arc::clone(&memory.node);
    let stored = move |_: &VolumeId, at: &Attachment| {
        let content = |image: &Path| images.lock().unwrap().get(image).cloned().unwrap_or_default();
        let mut stored = node
            .stored(at.location.path(), content)
            .ok_or_else(|| io::Error::other("there is no disk"))?;
        stored.truncate(256 << 10);
        Ok(stored)
    };
    let site = on_shelf(memory.shelf_file(), memory.devices.clone())
        .with_host(memory.node.clone())
        .with_images(put)
        .with_stored(stored)
        .with_size(GuestSize::new(64 << 10).unwrap());
    let report = run(&site);
    println!("{report}");
    assert!(report.passed());
}

#[test]
fn a_pool_of_devices_keeps_the_contract_on_loop_devices() {
    let machine = Machine::new(&[16 * MIB; 10]);
    let file = machine.place.path().join("shelf");
    let stored: Vec<_> = [file.clone()]
        .into_iter()
        .chain(machine.loops.iter().map(|device| device.path.clone()))
        .collect();
    let site = on_shelf(file, machine.devices())
        .with_storage(move || Ok(stored.clone()))
        .with_host(machine.agent.clone())
        .with_size(GuestSize::new(MIB).unwrap())
        .with_patience(PATIENCE);
    let report = run(&site);
    println!("{report}");
    assert!(report.passed() && looked_for_keys(&report));
}

#[test]
fn a_pool_on_a_storage_that_makes_devices_and_keeps_snapshots_keeps_the_contract() {
    let machine = Machine::new(&[]);
    let array = Arc::new(Array::new(machine.place.path()));
    let opened = Arc::clone(&array);
    let listed = Arc::clone(&array);
    let (stored, place) = (Arc::clone(&array), machine.place.path().to_owned());
    let site = Site::new(move || Ok::<_, PoolError>(BlockPool::new(Arc::clone(&opened))))
        .with_host(machine.agent.clone())
        .with_listing(move || Ok(of_volumes(listed.files())))
        .with_storage(move || Ok(stored.files().iter().map(|name| place.join(name)).collect()))
        .with_size(GuestSize::new(MIB).unwrap())
        .with_patience(PATIENCE);
    let report = run(&site);
    println!("{report}");
    assert!(report.passed() && looked_for_keys(&report));
}
