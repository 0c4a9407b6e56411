//! Raw LUKS disks of which only parts were ever written.
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use strongroom_endpoint_selector::{
    CompareContent, CreateDisk, Disk, DiskContent, Endpoint, ErrorKind, HostAnswer, Protection,
    ReplaceContent, Sameness,
};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, Cancellation, DiskFormat};

use crate::bench::{Bench, LUKS1, pattern, raw, size, tool};
use crate::canary::{content, digest, sha256sum};
use crate::copies::{FORMATS, MIB, WHY, copy, filled};

/// A raw LUKS disk of 40 MiB that got pieces of a pattern at these places, each of 64 KiB.
fn in_pieces(bench: &Bench, places: &[u64]) -> Vec<u8> {
    bench
        .create("disk", DiskFormat::Raw, 40 * MIB, bench.luks())
        .unwrap();
    let piece = pattern(64 << 10);
    let mut expected = vec![0; 40 << 20];
    let key = bench.place.path().join("typed");
    fs::write(&key, bench.key.expose_secret()).unwrap();
    fs::write(bench.path("piece"), &piece).unwrap();
    for place in places {
        let target = format!(
            "driver=raw,offset={place},size=65536,file.driver=luks,file.key-secret=k,file.file.driver=file,file.file.filename={}",
            bench.path("disk").display()
        );
        let secret = format!("secret,id=k,file={}", key.display());
        let done = tool(
            "qemu-img",
            &[
                "convert",
                "-n",
                "--object",
                &secret,
                "--image-opts",
                "--target-image-opts",
                &format!(
                    "driver=raw,file.driver=file,file.filename={}",
                    bench.path("piece").display()
                ),
                &target,
            ],
        );
        assert_eq!(done.code, 0, "{}", done.message());
        expected[*place as usize..*place as usize + piece.len()].copy_from_slice(&piece);
    }
    fs::remove_file(&key).unwrap();
    expected
}

#[test]
fn what_a_raw_luks_disk_never_got_is_not_copied() {
    let bench = Bench::new();
    // Two close together, two alone, one at the very end.
    let places = [0, 128 << 10, 8 * MIB, 39 * MIB, 40 * MIB - (64 << 10)];
    let expected = in_pieces(&bench, &places);
    fs::write(bench.path("expected"), &expected).unwrap();
    let source = bench.at("disk");
    let source = Disk::new(&source, DiskFormat::Raw, bench.luks());
    let sum = sha256sum(&bench.path("expected"));
    assert_eq!(digest(&bench, source), sum);
    let other = Passphrase::generate().unwrap();
    let luks = Protection::Luks {
        format: LUKS1,
        key: &other,
    };
    for (format, protection, content) in [
        (DiskFormat::Raw, luks, DiskContent::Copy(source)),
        (DiskFormat::Qcow2, luks, DiskContent::Copy(source)),
        (
            DiskFormat::Raw,
            Protection::Plain,
            DiskContent::Declassified(source, WHY),
        ),
    ] {
        let made = copy(&bench, format, 40 * MIB, protection, content).unwrap();
        assert!(made.allocated.get() < 5 * MIB, "{format}: {made:?}");
        let location = bench.at("copy");
        let disk = Disk::new(&location, format, protection);
        assert_eq!(digest(&bench, disk), sum, "{format} {protection:?}");
        let same = bench.run(CompareContent::new(disk, source.into())).unwrap();
        assert_eq!(
            same,
            HostAnswer::Compared(Sameness::Identical),
            "{format} {protection:?}"
        );
        fs::remove_file(location.path()).unwrap();
    }
}

#[test]
fn nothing_of_what_was_there_shows_through_the_holes_of_what_replaces_it() {
    let bench = Bench::new();
    let places = [MIB, 24 * MIB];
    let expected = in_pieces(&bench, &places);
    fs::write(bench.path("expected"), &expected).unwrap();
    fs::write(bench.path("old"), content(40 << 20)).unwrap();
    let source = bench.at("disk");
    let source = Disk::new(&source, DiskFormat::Raw, bench.luks());
    for format in FORMATS {
        filled(&bench, "target", format, bench.luks(), "old");
        let location = bench.at("target");
        let disk = Disk::new(&location, format, bench.luks());
        bench.disk(ReplaceContent::new(disk, source.into()));
        let image = bench.path("expected");
        let same = bench.run(CompareContent::new(disk, raw(&image).into())).unwrap();
        assert_eq!(same, HostAnswer::Compared(Sameness::Identical), "{format}");
        fs::remove_file(location.path()).unwrap();
    }
}

#[test]
fn two_raw_luks_disks_that_got_the_same_are_the_same_and_one_byte_makes_them_different() {
    let bench = Bench::new();
    in_pieces(&bench, &[MIB]);
    let source = bench.at("disk");
    let source = Disk::new(&source, DiskFormat::Raw, bench.luks());
    copy(
        &bench,
        DiskFormat::Raw,
        41 * MIB,
        bench.luks(),
        DiskContent::Copy(source),
    )
    .unwrap();
    let location = bench.at("copy");
    let disk = Disk::new(&location, DiskFormat::Raw, bench.luks());
    // Behind the end of the source is noise.
    let same = |disk| match bench.run(CompareContent::new(disk, source.into())) {
        Ok(HostAnswer::Compared(same)) => same,
        other => panic!("{other:?}"),
    };
    assert_eq!(same(disk), Sameness::Different);
    fs::remove_file(location.path()).unwrap();
    copy(
        &bench,
        DiskFormat::Raw,
        40 * MIB,
        bench.luks(),
        DiskContent::Copy(source),
    )
    .unwrap();
    assert_eq!(same(disk), Sameness::Identical);
    let file = fs::File::options().write(true).open(location.path()).unwrap();
    file.write_all_at(b"x", 2 * MIB + MIB + 100).unwrap();
    assert_eq!(same(disk), Sameness::Different);
}

#[test]
fn a_copy_says_how_far_it_is_and_can_be_stopped() {
    let bench = Bench::new();
    in_pieces(&bench, &[0, 128 << 10, 8 * MIB, 39 * MIB]);
    let source = bench.at("disk");
    let source = Disk::new(&source, DiskFormat::Raw, bench.luks());
    let path = bench.path("copy");
    let content = DiskContent::Copy(source);
    let create = CreateDisk::new(&path, DiskFormat::Raw, size(40 * MIB), bench.luks(), content);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let call = Call::new().with_progress(Arc::new(move |part| sink.lock().unwrap().push(part)));
    bench.agent.run(&call, &create.into()).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&1.0), "{seen:?}");
    assert!(seen.iter().any(|part| (0.1..0.9).contains(part)), "{seen:?}");
    fs::remove_file(&path).unwrap();
    let cancellation = Cancellation::new();
    let stop = cancellation.clone();
    let call = Call::new()
        .with_cancellation(cancellation)
        .with_progress(Arc::new(move |part| {
            if part > 0.3 {
                stop.cancel();
            }
        }));
    let stopped = bench.agent.run(&call, &create.into()).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Cancelled, "{stopped}");
    assert_eq!(bench.names(), ["disk", "piece"]);
}
