//! Two who work on one volume: the second waits, or is told.

use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, io};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use strongroom_endpoint_selector::{EndpointError, HostCommand, RegisteredEndpoints};
use strongroom_pool_block::{BlockPool, BlockStorage, ErrorKind};
use strongroom_storage_pool::{OpContext, PoolDriver, VolumeContent};
use strongroom_types::{Call, DiskFormat};

use crate::site::{MIB, Memory, guest, refused, volume};

const RAW: DiskFormat = DiskFormat::Raw;

/// Enough for a lock that nobody has.
const SHORT: Duration = Duration::from_millis(200);

#[test]
fn what_one_process_makes_another_does_not_delete_meanwhile() {
    let memory = Memory::new(&[64 * MIB]);
    let site = memory.site();
    let (other, seen) = (BlockPool::new(memory.shelf()), Arc::new(Mutex::new(Vec::new())));
    let kinds = Arc::clone(&seen);
    memory
        .node
        .fail_when(move |command: &HostCommand<'_>| -> Option<EndpointError> {
            if matches!(command, HostCommand::FormatDevice(_)) {
                let (call, hosts) = (Call::new().with_timeout(SHORT), RegisteredEndpoints::new());
                let deleted = other.delete(&OpContext::new(&call, &hosts), &volume("a"));
                kinds.lock().unwrap().push(deleted.unwrap_err().kind());
            }
            None
        });
    let made = site
        .create("a", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
    assert_eq!(made.guest, guest(16 * MIB));
    assert_eq!(*seen.lock().unwrap(), [ErrorKind::Deadline]);
    assert_eq!(site.get("a").unwrap(), Some(made));
    memory.node.fail_when(|_| None);
    site.delete("a").unwrap();
}

#[test]
fn every_change_waits_for_the_claim_of_another_and_looking_does_not() {
    let memory = Memory::new(&[64 * MIB]);
    let mut site = memory.site();
    site.create("a", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
    let claim = memory.shelf().claim(&Call::new(), &volume("a")).unwrap();
    let mut kinds = Vec::new();
    for work in [0, 1, 2] {
        site.call = Call::new().with_timeout(SHORT);
        let refused = match work {
            0 => site.delete("a").unwrap_err(),
            1 => site.grow("a", 20 * MIB, site.encrypted()).unwrap_err(),
            _ => site.pool.recover(&site.cx()).unwrap_err(),
        };
        kinds.push(refused.kind());
    }
    assert_eq!(kinds, [ErrorKind::Deadline; 3]);
    site.call = Call::new();
    assert_eq!(site.get("a").unwrap().unwrap().guest, guest(16 * MIB));
    drop(claim);
    site.delete("a").unwrap();
    let names: Vec<_> = fs::read_dir(memory.shelf_file().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".a."))
        .collect();
    assert_eq!(names, Vec::<String>::new(), "a claim leaves nothing");
}

#[test]
fn a_lost_file_is_not_replaced_by_an_empty_one() {
    let memory = Memory::new(&[64 * MIB]);
    let site = memory.site();
    site.create("a", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
    fs::remove_file(memory.shelf_file()).unwrap();
    refused(
        site.pool.prepare(&site.cx()),
        ErrorKind::Io,
        &["is gone", "put it back", "remove the lock"],
    );
    assert!(!memory.shelf_file().exists());
}

#[test]
fn a_shelf_that_was_asked_before_it_was_prepared_can_be_prepared() {
    let memory = Memory::new(&[64 * MIB]);
    let shelf = memory.shelf();
    refused(
        shelf.remove(&Call::new(), &volume("a")),
        ErrorKind::Io,
        &["prepare the pool"],
    );
    shelf.prepare(&Call::new()).unwrap();
    assert_eq!(shelf.volumes(&Call::new()).unwrap(), []);
}

#[test]
fn a_file_that_is_a_symlink_a_pipe_or_too_large_is_an_error_at_once() {
    let memory = Memory::new(&[64 * MIB]);
    let (file, shelf) = (memory.shelf_file(), memory.shelf());
    let elsewhere = file.with_extension("elsewhere");
    let lock = file.with_extension("lock");
    let pipe = |path: &std::path::Path| {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(io::Error::from)
    };
    shelf.prepare(&Call::new()).unwrap();
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    refused(shelf.volumes(&Call::new()), ErrorKind::Io, &["symbolic links"]);
    fs::remove_file(&file).unwrap();
    pipe(&file).unwrap();
    refused(
        shelf.volumes(&Call::new()),
        ErrorKind::Io,
        &["not a regular file"],
    );
    fs::remove_file(&file).unwrap();
    fs::File::create(&file).unwrap().set_len(1 << 30).unwrap();
    refused(shelf.volumes(&Call::new()), ErrorKind::Io, &["larger than"]);
    fs::rename(&elsewhere, &file).unwrap();
    fs::remove_file(&lock).unwrap();
    pipe(&lock).unwrap();
    refused(
        shelf.remove(&Call::new(), &volume("a")),
        ErrorKind::Io,
        &["not a regular file"],
    );
}
