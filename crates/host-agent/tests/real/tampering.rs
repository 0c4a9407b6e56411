//! Tools that do not do what they say, and somebody who writes to a disk at the wrong moment.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, Endpoint, ErrorKind, FlattenDisk, VerifyDisk,
};
use strongroom_exec::{CommandSpec, Completed, RunError, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_types::{Call, DiskFormat};

use crate::bench::{Bench, raw, size, tool};
use crate::canary::{content, digest};
use crate::overlays::{images, overlay};

const MIB: u64 = 1 << 20;

/// Does something to the run of `qemu-img convert` with this number.
struct Tamper<F> {
    number: usize,
    converts: AtomicUsize,
    with: F,
}

impl<F> std::fmt::Debug for Tamper<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tamper").finish_non_exhaustive()
    }
}

type Ran = Result<Completed, RunError>;

impl<F: Fn(&dyn Fn() -> Ran) -> Ran + Send + Sync> Runner for Tamper<F> {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Ran {
        let run = || SystemRunner::new().run(command, watch);
        if command.arguments().next().is_none_or(|word| word != "convert") {
            return run();
        }
        match self.converts.fetch_add(1, Ordering::SeqCst) {
            number if number == self.number => (self.with)(&run),
            _ => run(),
        }
    }
}

fn agent<F>(number: usize, with: F) -> HostAgent
where
    F: Fn(&dyn Fn() -> Ran) -> Ran + Send + Sync + 'static,
{
    let runner = Arc::new(Tamper {
        number,
        converts: AtomicUsize::new(0),
        with,
    });
    HostAgent::new("here".parse().unwrap(), ToolPaths::system(), runner)
}

#[test]
fn a_copy_that_came_out_wrong_does_not_take_the_place_of_the_disk() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    overlay(&bench, "disk", 4 * MIB, bench.luks(), raw(&base)).unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    let before = digest(&bench, disk);
    // It says that it copied, and did not.
    let idle = agent(0, |_| Ok(Completed::new(0, "", "")));
    let refused = idle
        .run(&Call::new(), &FlattenDisk::new(disk).into())
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Tool, "{refused}");
    assert!(refused.message().contains("another content"), "{refused}");
    assert_eq!(bench.names(), ["disk", "images"]);
    assert_eq!(digest(&bench, disk), before);
}

#[test]
fn what_somebody_writes_while_a_disk_is_flattened_is_not_lost() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    overlay(&bench, "disk", 4 * MIB, bench.luks(), raw(&base)).unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    let mut busy = 0;
    loop {
        let path = location.path().to_owned();
        let agent = agent(busy, move |run| {
            let ran = run();
            // The same byte again: only the time says that somebody wrote.
            let file = fs::File::options().read(true).write(true).open(&path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, 0).unwrap();
            file.write_all_at(&byte, 0).unwrap();
            ran
        });
        match agent.run(&Call::new(), &FlattenDisk::new(disk).into()) {
            Ok(_) => break,
            Err(e) => assert_eq!(e.kind(), ErrorKind::Busy, "{busy}: {e}"),
        }
        assert_eq!(bench.names(), ["disk", "images"]);
        bench.run(VerifyDisk::new(disk)).unwrap();
        busy += 1;
    }
    assert_eq!(busy, 3, "the copy, and the digest of each disk");
}

#[test]
fn a_template_that_became_too_long_for_the_tool_is_busy_and_not_a_failure_of_the_tool() {
    let bench = Bench::new();
    let template = bench.path("template");
    fs::write(&template, content(1 << 20)).unwrap();
    let changed = template.clone();
    let agent = agent(0, move |run| {
        let file = fs::File::options().write(true).open(&changed).unwrap();
        file.set_len(2 << 20).unwrap();
        run()
    });
    let path = bench.path("disk");
    let content = DiskContent::Template(raw(&template));
    let create = CreateDisk::new(&path, DiskFormat::Qcow2, size(MIB), bench.luks(), content);
    let busy = agent.run(&Call::new(), &create.into()).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
    assert_eq!(bench.names(), ["template"]);
}

#[test]
fn where_a_file_system_has_no_hole_for_what_was_left_out_zeros_are_written() {
    let bench = Bench::new();
    bench
        .create("disk", DiskFormat::Raw, 8 * MIB, bench.luks())
        .unwrap();
    let location = bench.at("disk");
    let source = Disk::new(&location, DiskFormat::Raw, bench.luks());
    let before = digest(&bench, source);
    // A piece of ciphertext, which decrypts to something.
    let file = fs::File::options().write(true).open(location.path()).unwrap();
    file.write_all_at(&content(64 << 10), 2 * MIB).unwrap();
    let after = digest(&bench, source);
    assert_ne!(before, after);
    let pool = bench.place.path().to_owned();
    let agent = agent(0, move |run| {
        // As a file system does that has larger blocks, or no holes.
        let target = staged(&pool);
        let file = fs::File::options().write(true).open(target).unwrap();
        file.write_all_at(&vec![0; 2 << 20], 5 * MIB).unwrap();
        run()
    });
    let path = bench.path("copy");
    let copy = DiskContent::Copy(source);
    let create = CreateDisk::new(&path, DiskFormat::Raw, size(8 * MIB), bench.luks(), copy);
    agent.run(&Call::new(), &create.into()).unwrap();
    let location = bench.at("copy");
    assert_eq!(
        digest(&bench, Disk::new(&location, DiskFormat::Raw, bench.luks())),
        after
    );
}

/// The disk that is being made in a pool.
fn staged(pool: &PathBuf) -> PathBuf {
    let staging = fs::read_dir(pool)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains(".strongroom-staging-"))
        .unwrap();
    staging.join("copy")
}

/// Says of each header that it names another base.
#[derive(Debug)]
struct Liar;

impl Runner for Liar {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Ran {
        let mut done = SystemRunner::new().run(command, watch)?;
        if command.arguments().next().is_some_and(|word| word == "info") {
            let text = String::from_utf8(done.stdout).unwrap();
            done.stdout = text.replace("base.raw", "other.raw").into_bytes();
        }
        Ok(done)
    }
}

#[test]
fn a_base_on_which_two_readers_disagree_is_refused() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    overlay(&bench, "disk", 4 * MIB, bench.luks(), raw(&base)).unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    let agent = HostAgent::new("here".parse().unwrap(), ToolPaths::system(), Arc::new(Liar));
    let refused = agent
        .run(&Call::new(), &VerifyDisk::new(disk).into())
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongDisk, "{refused}");
    assert!(refused.message().contains("disagree"), "{refused}");
}

#[test]
fn the_key_of_a_disk_that_was_flattened_opens_no_copy_of_its_old_header_in_its_old_blocks() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    overlay(&bench, "disk", 4 * MIB, bench.luks(), raw(&base)).unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    // A second name for the old blocks, which would be free.
    fs::hard_link(location.path(), bench.path("old")).unwrap();
    bench.disk(FlattenDisk::new(disk));
    let old = bench.at("old");
    let old = Disk::new(&old, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    let erased = bench.run(VerifyDisk::new(old)).unwrap_err();
    assert_eq!(erased.kind(), ErrorKind::WrongKey, "{erased}");
    bench.run(VerifyDisk::new(disk.on(None))).unwrap();
    let there = tool("stat", &["-c", "%a %u", location.path().to_str().unwrap()]);
    assert_eq!(there.stdout, b"600 0\n");
}
