//! Content that would be written over itself, by another name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use strongroom_endpoint_selector::{BlockDevice, Disk, DiskLocation, ErrorKind, Protection, ReplaceContent};
use strongroom_types::DiskFormat;

use crate::bench::{Bench, pattern, raw};
use crate::canary::content;
use crate::loops::Loop;
use crate::overlays::{images, overlay};

const MIB: u64 = 1 << 20;

fn plain(location: &DiskLocation) -> Disk<'_> {
    Disk::new(location, DiskFormat::Raw, Protection::Plain)
}

/// Another node for a device.
fn node(bench: &Bench, of: &str) -> DiskLocation {
    let number = fs::metadata(of).unwrap().rdev();
    let path = bench.path("node");
    mknodat(CWD, &path, FileType::BlockDevice, Mode::from(0o600), number).unwrap();
    DiskLocation::Block(BlockDevice::new(&path))
}

/// A loop device on 1 MiB of a file.
fn part(file: &Path, start: &str) -> Loop {
    Loop::on_part(file.to_owned(), &["--offset", start, "--sizelimit", "1048576"])
}

#[track_caller]
fn refused(bench: &Bench, command: ReplaceContent<'_>) {
    let refused = bench.run(command).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
    assert!(
        refused.message().contains("over what it is read from"),
        "{refused}"
    );
}

#[test]
fn nothing_is_written_over_itself_by_another_node_or_loop_device() {
    let bench = Bench::new();
    let one = Loop::with(&bench, &pattern(4 << 20));
    let again = Loop::on(one.backing.clone());
    let stacked = Loop::on(one.path.clone().into());
    let part = part(&one.backing, "1048576");
    let all = [
        one.whole(),
        node(&bench, &one.path),
        again.whole(),
        stacked.whole(),
        DiskLocation::File(one.backing.clone()),
    ];
    for into in &all {
        for from in all.iter().chain([&part.whole()]) {
            refused(&bench, ReplaceContent::new(plain(into), plain(from).into()));
        }
        refused(&bench, ReplaceContent::new(plain(into), raw(&one.backing).into()));
    }
    assert!(fs::read(&one.backing).unwrap() == pattern(4 << 20));
}

#[test]
fn the_file_of_two_loop_devices_is_one_file_when_its_name_is_gone() {
    let bench = Bench::new();
    let one = Loop::with(&bench, &pattern(1 << 20));
    let again = Loop::on(one.backing.clone());
    fs::remove_file(&one.backing).unwrap();
    let (from, into) = (one.whole(), again.whole());
    refused(&bench, ReplaceContent::new(plain(&into), plain(&from).into()));
}

#[test]
fn the_base_of_a_source_is_not_written_over_by_its_loop_device() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    overlay(&bench, "disk", 4 * MIB, Protection::Plain, raw(&base)).unwrap();
    let location = bench.at("disk");
    let from = Disk::new(&location, DiskFormat::Qcow2, Protection::Plain).on(Some(raw(&base)));
    let of_base = Loop::on(base.clone());
    let into = of_base.whole();
    refused(&bench, ReplaceContent::new(plain(&into), from.into()));
    assert!(fs::read(&base).unwrap() == content(4 << 20));
}

#[test]
fn two_parts_of_one_file_are_two_disks() {
    let bench = Bench::new();
    let disk = Loop::with(&bench, &pattern(4 << 20));
    let (first, third) = (part(&disk.backing, "0"), part(&disk.backing, "2097152"));
    let (from, into) = (first.whole(), third.whole());
    bench.disk(ReplaceContent::new(plain(&into), plain(&from).into()));
    let mut expected = pattern(4 << 20);
    expected.copy_within(..1 << 20, 2 << 20);
    drop((first, third));
    assert!(fs::read(&disk.backing).unwrap() == expected);
}
