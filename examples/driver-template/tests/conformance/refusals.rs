//! What the suite does not know of: disks that somebody else made, and what is there when no host is.

use std::fs;
use std::path::Path;

use strongroom_driver_template::{Array, TemplatePool};
use strongroom_endpoint_selector::RegisteredEndpoints;
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{CreateVolume, ErrorKind, OpContext, PoolDriver, VolumeContent, VolumeKey};
use strongroom_types::{Call, DiskFormat, GuestSize, VolumeId};

fn pool(directory: &Path) -> TemplatePool {
    TemplatePool::new(
        "shelf".parse().unwrap(),
        Array::new(directory.to_owned(), 1 << 30),
    )
}

fn create(pool: &TemplatePool, key: VolumeKey<'_>) -> ErrorKind {
    let (call, hosts, id) = (Call::new(), RegisteredEndpoints::new(), volume());
    let size = GuestSize::new(1 << 20).unwrap();
    let request = CreateVolume::new(&id, size, DiskFormat::Raw, key, VolumeContent::Blank);
    pool.create(&OpContext::new(&call, &hosts), &request)
        .unwrap_err()
        .kind()
}

fn delete(pool: &TemplatePool) -> Option<ErrorKind> {
    let (call, hosts) = (Call::new(), RegisteredEndpoints::new());
    let deleted = pool.delete(&OpContext::new(&call, &hosts), &volume());
    deleted.err().map(|e| e.kind())
}

fn volume() -> VolumeId {
    "vol-1".parse().unwrap()
}

#[test]
fn a_disk_without_a_note_is_neither_taken_over_nor_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (pool, disk) = (pool(directory.path()), directory.path().join("vol-1.disk"));
    fs::write(&disk, b"somebody's").unwrap();
    assert_eq!(create(&pool, VolumeKey::Plain), ErrorKind::WrongDisk);
    assert_eq!(delete(&pool), None, "there is no such volume");
    assert_eq!(fs::read(&disk).unwrap(), b"somebody's");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

#[test]
fn a_disk_with_the_note_of_somebody_else_is_neither_taken_over_nor_removed() {
    let directory = tempfile::tempdir().unwrap();
    let (pool, disk) = (pool(directory.path()), directory.path().join("vol-1.disk"));
    fs::write(&disk, b"somebody's").unwrap();
    fs::write(directory.path().join("vol-1.note"), "acme backup").unwrap();
    assert_eq!(create(&pool, VolumeKey::Plain), ErrorKind::WrongDisk);
    assert_eq!(delete(&pool), Some(ErrorKind::WrongDisk));
    assert_eq!(fs::read(&disk).unwrap(), b"somebody's");
}

#[test]
fn where_no_host_is_nothing_is_allocated() {
    let (directory, key) = (tempfile::tempdir().unwrap(), Passphrase::generate().unwrap());
    let pool = pool(directory.path());
    assert_eq!(create(&pool, VolumeKey::Encrypted(&key)), ErrorKind::NoHost);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}
