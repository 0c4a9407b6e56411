//! Several processes on one shelf. This program runs itself, so it has a `main` of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its input has failed")]
#![expect(
    clippy::print_stdout,
    reason = "a test without a harness says itself what it did"
)]

use std::collections::BTreeSet;
use std::env;
use std::path::Path;

use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_pool_block::{BlockStorage, DeviceShelf, ErrorKind, Label, ShelfDevice, Stage};
use strongroom_types::{Call, DeviceSize, VolumeId};

const PROCESSES: u64 = 4;
const EACH: u64 = 12;

fn main() {
    let arguments: Vec<_> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("take-devices") => take_devices(arguments[2].as_ref(), &arguments[3]),
        _ => of_processes_that_take_devices_at_once_each_gets_others(),
    }
}

/// Half as many devices again as all processes want to keep.
fn shelf(place: &Path) -> DeviceShelf {
    let devices = (0..PROCESSES * EACH).map(|number| {
        let size = DeviceSize::new((number + 1) * 512).unwrap();
        ShelfDevice::new(format!("/dev/{number}"), size, Some(number.to_string()))
    });
    DeviceShelf::open("disks".parse().unwrap(), place.join("shelf"), devices).unwrap()
}

fn label(stage: &str, number: u64) -> Label {
    let text = format!("sr1:{stage}:raw:plain:512:{number:016x}");
    text.parse().unwrap()
}

/// Takes devices, says that they are ready, and gives every second one back.
fn take_devices(place: &Path, process: &str) {
    let (shelf, call) = (shelf(place), Call::new());
    shelf.prepare(&call).unwrap();
    for number in 0..EACH {
        let volume: VolumeId = format!("of-{process}-{number}").parse().unwrap();
        let (begun, ready) = (label("begun", number), label("ready", number));
        shelf
            .provision(&call, &volume, DeviceSize::new(512).unwrap(), &begun)
            .unwrap();
        shelf.relabel(&call, &volume, &begun, &ready).unwrap();
        if number % 2 == 1 {
            shelf.remove(&call, &volume).unwrap();
        }
    }
}

fn of_processes_that_take_devices_at_once_each_gets_others() {
    let place = tempfile::tempdir().unwrap();
    let us = Program::at(env::current_exe().unwrap()).unwrap();
    std::thread::scope(|scope| {
        for process in 0..PROCESSES {
            let command = CommandSpec::new(us.clone())
                .arg("take-devices")
                .arg(place.path())
                .arg(process.to_string());
            scope.spawn(move || {
                let done = SystemRunner::new().run(&command, &Watch::nobody()).unwrap();
                assert_eq!(done.code, 0, "{}", done.message());
            });
        }
    });
    let (shelf, call) = (shelf(place.path()), Call::new());
    let host = "node".parse().unwrap();
    let mut paths = BTreeSet::new();
    let volumes = shelf.volumes(&call).unwrap();
    for volume in &volumes {
        let provided = shelf.find(&call, volume).unwrap().unwrap();
        assert_eq!(provided.label.stage, Stage::Ready, "{volume}");
        let device = shelf.hand_over(&call, volume, &host).unwrap();
        assert!(paths.insert(device.path.clone()), "{device:?} is given twice");
    }
    assert_eq!(volumes.len() as u64, PROCESSES * EACH / 2);
    // The shelf is as full as it says: exactly the devices that were given back are free.
    let left = PROCESSES * EACH / 2;
    for number in 0..=left {
        let volume: VolumeId = format!("last-{number}").parse().unwrap();
        let taken = shelf.provision(
            &call,
            &volume,
            DeviceSize::new(512).unwrap(),
            &label("begun", number),
        );
        match taken {
            Ok(_) => assert!(number < left),
            Err(e) => assert_eq!((e.kind(), number), (ErrorKind::NoSpace, left), "{e}"),
        }
    }
    println!("{PROCESSES} processes took devices at once, and each got others");
}
