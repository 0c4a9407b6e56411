//! What it costs to fill a disk: time, memory, and what a sparse template saves.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use strongroom_endpoint_selector::{DiskContent, SourceImage};
use strongroom_types::DiskFormat;

use crate::{Place, line, median, tool};

/// The formats of a root volume, with QEMU's words for them.
const TARGETS: [(DiskFormat, &str, &str); 2] = [
    (DiskFormat::Raw, "luks", "key-secret=s"),
    (
        DiskFormat::Qcow2,
        "qcow2",
        "encrypt.format=luks,encrypt.key-secret=s",
    ),
];

/// Most of what `qemu-img` may take, in KiB.
const MOST: u64 = 64 << 10;

fn template(path: &str) -> DiskContent<'_> {
    DiskContent::Template(SourceImage::new(Path::new(path), DiskFormat::Raw))
}

/// Writes data of which no two blocks are the same, a MiB at each of these places, given in MiB.
fn write(path: &str, places: impl Iterator<Item = u64>) {
    let file = File::create(path).unwrap();
    let mut block = vec![0; 1 << 20];
    for place in places {
        for (number, part) in (place << 7..).zip(block.chunks_mut(8192)) {
            part.fill((number.wrapping_mul(0x9e37_79b9) >> 13) as u8 | 1);
            part[..8].copy_from_slice(&number.to_le_bytes());
        }
        file.write_all_at(&block, place << 20).unwrap();
    }
    file.sync_all().unwrap();
}

/// A full copy into an encrypted disk.
pub(crate) fn copy(place: &Place, megabytes: u64) {
    let from = place.path("template");
    write(&from, 0..megabytes);
    for (format, word, options) in TARGETS {
        let theirs = place.path("theirs");
        let secret = place.secret();
        let args = [
            "convert", "-f", "raw", "-O", word, "--object", &secret, "-o", options, &from, &theirs,
        ];
        let default = median(3, || tool("qemu-img", &args), || place.remove("theirs"));
        let mut peak = 0;
        let ours = median(
            3,
            || {
                peak = peak.max(peak_of(|| {
                    place.create("ours", format, megabytes << 20, template(&from))
                }))
            },
            || place.remove("ours"),
        );
        let what = format!("copy a template of {megabytes} MiB into {word}, against `qemu-img convert`");
        line(&what, default, ours, "at least 2.5");
        println!("| its peak memory, in MiB | | {} | | under 64 |", peak >> 10);
        assert!((1..MOST).contains(&peak), "{peak} KiB");
    }
    place.remove("template");
}

/// A template of 100 GiB of which only so much is there, against one that is so long, into a qcow2 disk.
pub(crate) fn sparse(place: &Place, megabytes: u64) {
    let (data, whole) = (megabytes.min(1024), 100 << 10);
    let (dense, sparse) = (place.path("dense"), place.path("sparse"));
    write(&dense, 0..data);
    // In 16 pieces.
    let piece = data.div_ceil(16);
    write(
        &sparse,
        (0..data).map(|at| at / piece * (whole / 16) + at % piece),
    );
    File::options()
        .write(true)
        .open(&sparse)
        .unwrap()
        .set_len(whole << 20)
        .unwrap();
    let time = |path: &str, megabytes: u64| {
        let make = || place.create("ours", DiskFormat::Qcow2, megabytes << 20, template(path));
        median(3, make, || place.remove("ours"))
    };
    let (dense, sparse) = (time(&dense, data), time(&sparse, whole));
    let what = format!("copy a template of 100 GiB with {data} MiB of data, against one of {data} MiB");
    line(&what, dense, sparse, "about 1");
    place.remove("dense");
    place.remove("sparse");
}

/// The most memory, in KiB, that a child of this process took meanwhile.
fn peak_of(work: impl FnOnce()) -> u64 {
    let (peak, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let most = children().filter_map(|pid| high_water(&pid)).max();
                peak.fetch_max(most.unwrap_or(0), Ordering::SeqCst);
                thread::park_timeout(Duration::from_millis(2));
            }
        });
        work();
        done.store(true, Ordering::SeqCst);
    });
    peak.load(Ordering::SeqCst)
}

fn children() -> impl Iterator<Item = String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.flat_map(|task| {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    })
}

/// The peak of its resident memory, once it is another program than this one.
fn high_water(pid: &str) -> Option<u64> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    name.starts_with("qemu-img").then_some(kib)
}
