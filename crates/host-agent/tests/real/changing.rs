//! Sources that somebody writes to while they are read.
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use strongroom_endpoint_selector::{CreateDisk, Disk, DiskContent, Endpoint, ErrorKind};
use strongroom_types::{Call, DiskFormat};

use crate::bench::{Bench, raw, size};
use crate::canary::content;
use crate::copies::{MIB, copy, filled};

#[test]
fn a_source_that_changes_while_it_is_copied_is_busy_and_leaves_nothing() {
    let bench = Bench::new();
    let template = bench.path("template");
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("a byte", |path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.write_all_at(b"x", 7 << 20).unwrap();
        }),
        ("its length", |path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_len(9 << 20).unwrap();
        }),
        ("the file", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path.with_extension("new"), bytes).unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        }),
        ("its name", |path| fs::remove_file(path).unwrap()),
    ];
    for (what, change) in changes {
        fs::write(&template, content(8 << 20)).unwrap();
        let before = fs::metadata(&template).unwrap();
        // From inside: as soon as the copy says that it has begun.
        let (path, done) = (template.clone(), Mutex::new(false));
        let call = Call::new().with_progress(Arc::new(move |_| {
            if !std::mem::replace(&mut *done.lock().unwrap(), true) {
                change(&path);
            }
        }));
        let disk = bench.path("disk");
        let content = DiskContent::Template(raw(&template));
        let create = CreateDisk::new(&disk, DiskFormat::Qcow2, size(8 << 20), bench.luks(), content);
        let changed = bench.agent.run(&call, &create.into()).unwrap_err();
        assert_eq!(changed.kind(), ErrorKind::Busy, "{what}: {changed}");
        assert!(
            bench.names().iter().all(|n| n == "template"),
            "{:?}",
            bench.names()
        );
        let after = fs::metadata(&template).map(|m| (m.ino(), m.len(), m.mtime(), m.mtime_nsec()));
        assert_ne!(
            after.ok(),
            Some((before.ino(), before.len(), before.mtime(), before.mtime_nsec()))
        );
    }
}

#[test]
fn a_source_that_somebody_has_open_for_writing_is_busy() {
    let bench = Bench::new();
    fs::write(bench.path("file"), content(1 << 20)).unwrap();
    filled(&bench, "disk", DiskFormat::Qcow2, bench.luks(), "file");
    let source = bench.at("disk");
    let source = Disk::new(&source, DiskFormat::Qcow2, bench.luks());
    let file = bench.path("file");
    for (open, content) in [
        ("file", DiskContent::Template(raw(&file))),
        ("disk", DiskContent::Copy(source)),
    ] {
        let busy = bench.while_qemu_has_open(open, || {
            copy(&bench, DiskFormat::Raw, MIB, bench.luks(), content).unwrap_err()
        });
        assert_eq!(busy.kind(), ErrorKind::Busy, "{open}: {busy}");
    }
    assert_eq!(bench.names(), ["disk", "file"]);
}
