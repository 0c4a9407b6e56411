//! Disks on devices that let go of their template in place, and what a kill on the way leaves.

use std::fs;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use strongroom_endpoint_selector::{
    Disk, DiskLocation, Endpoint, ErrorKind, FlattenDisk, FormatQcow2, InspectDisk, Protection,
    ReplaceContent, SourceImage,
};
use strongroom_exec::Runner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_image::Qcow2Header;
use strongroom_types::{Call, DiskFormat};

use crate::bench::{Bench, pattern, raw, size};
use crate::canary::digest;
use crate::hook::Hook;
use crate::loops::Loop;

const MIB: u64 = 1 << 20;
const QCOW2: DiskFormat = DiskFormat::Qcow2;

/// How much the template has at its beginning, and again at 8 MiB: too far apart to be copied together.
const PART: usize = 64 << 10;

/// A disk on `upper`, partly overwritten, on a template on `lower`.
fn stacked<'b>(
    bench: &Bench,
    lower: &'b Loop,
    (upper, above): (&Loop, &'b DiskLocation),
    protection: Protection<'b>,
) -> Disk<'b> {
    let image = bench.path("image");
    let mut content = vec![0; 10 << 20];
    content[..PART].copy_from_slice(&pattern(PART));
    content[8 << 20..][..PART].copy_from_slice(&pattern(PART));
    fs::write(&image, content).unwrap();
    let below = lower.first(16 * MIB);
    let (template, id) = ("t".parse().unwrap(), "v".parse().unwrap());
    let plain = Protection::Plain;
    bench.disk(FormatQcow2::new(&template, &below, size(10 * MIB), plain));
    bench.disk(ReplaceContent::new(
        Disk::new(&below, QCOW2, plain),
        raw(&image).into(),
    ));
    let base = Some(SourceImage::new(lower.path.as_ref(), QCOW2));
    bench.disk(FormatQcow2::new(&id, above, size(10 * MIB), protection).base(base));
    assert_eq!(upper.path, above.path().to_str().unwrap());
    Disk::new(above, QCOW2, protection).on(base)
}

/// An agent with the real tools that does this before each of them.
fn agent(before: impl Fn() + Send + Sync + 'static) -> HostAgent {
    let runner: Arc<dyn Runner> = Arc::new(Hook::before(move |_, _| before()));
    HostAgent::new("hooked".parse().unwrap(), ToolPaths::system(), runner)
}

#[test]
fn a_flatten_in_place_that_was_killed_at_any_tool_lost_nothing_and_is_finished_by_the_same_command() {
    let bench = Bench::new();
    for protection in [Protection::Plain, bench.luks()] {
        let (lower, upper) = (Loop::new(&bench, 16 * MIB), Loop::new(&bench, 16 * MIB));
        let above = upper.first(16 * MIB);
        let disk = stacked(&bench, &lower, (&upper, &above), protection);
        let before = digest(&bench, disk);
        // What the device has before each tool and in the end, each state once.
        let states = Arc::new(Mutex::new(Vec::<Vec<u8>>::new()));
        let keep = {
            let (states, path) = (Arc::clone(&states), PathBuf::from(&upper.path));
            move || {
                let (now, mut states) = (fs::read(&path).unwrap(), states.lock().unwrap());
                if states.last() != Some(&now) {
                    states.push(now);
                }
            }
        };
        let flattening = agent(keep.clone());
        flattening
            .run(&Call::new(), &FlattenDisk::new(disk).into())
            .unwrap();
        keep();
        let states = states.lock().unwrap();
        let (mut on_base, mut alone) = (0, 0);
        for (number, state) in states.iter().enumerate() {
            upper.put(state, 0);
            let header = Qcow2Header::read(&mut Cursor::new(state)).unwrap();
            let as_left = match header.backing {
                Some(_) => disk,
                None => disk.on(None),
            };
            on_base += u32::from(header.backing.is_some());
            alone += u32::from(header.backing.is_none());
            assert_eq!(digest(&bench, as_left), before, "{number}");
            let flat = bench.disk(FlattenDisk::new(disk));
            assert_eq!((flat.base, flat.guest), (None, size(10 * MIB)));
            assert_eq!(digest(&bench, disk.on(None)), before, "{number}");
            bench.verify(&above, QCOW2, protection).unwrap();
        }
        // Untouched, with one part, with both and still on the template; then alone.
        assert!(on_base >= 3 && alone >= 1, "{on_base} {alone}");
    }
}

#[test]
fn a_disk_that_would_read_otherwise_without_its_template_stays_on_it() {
    let bench = Bench::new();
    let (lower, upper) = (Loop::new(&bench, 16 * MIB), Loop::new(&bench, 16 * MIB));
    let above = upper.first(16 * MIB);
    let disk = stacked(&bench, &lower, (&upper, &above), Protection::Plain);
    let base = bench.disk(InspectDisk::new(&above, QCOW2, None).base_in(Some("/dev".as_ref())));
    // One byte of what was copied is another one as soon as it is there.
    let (path, damaged) = (PathBuf::from(&upper.path), Arc::new(AtomicBool::new(false)));
    let once = Arc::clone(&damaged);
    let agent = agent(move || {
        let device = fs::read(&path).unwrap();
        let copied = device.chunks(PART).position(|chunk| chunk == pattern(PART));
        if let Some(cluster) = copied.filter(|_| !once.swap(true, Ordering::SeqCst)) {
            let file = fs::File::options().write(true).open(&path).unwrap();
            let at = (cluster * PART) as u64 + 7;
            std::os::unix::fs::FileExt::write_all_at(&file, &[!pattern(8)[7]], at).unwrap();
            file.sync_all().unwrap();
        }
    });
    let refused = agent
        .run(&Call::new(), &FlattenDisk::new(disk).into())
        .unwrap_err();
    assert!(damaged.load(Ordering::SeqCst));
    assert_eq!(refused.kind(), ErrorKind::Tool, "{refused}");
    assert!(refused.to_string().contains("without its base"), "{refused}");
    let after = bench.disk(InspectDisk::new(&above, QCOW2, None).base_in(Some("/dev".as_ref())));
    assert_eq!(after.base, base.base);
    assert!(after.base.is_some());
}
