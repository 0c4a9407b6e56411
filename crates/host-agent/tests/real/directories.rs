//! Directories that are to hold disks: what they are, whose they are, and what may happen to them in the middle of something.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{
    CreateDisk, DirectoryFacts, DiskContent, DiskLocation, Endpoint, EndpointError, ErrorKind, HostAnswer,
    HostCommand, ListDirectory, Locking, MakeDirectory, MarkDirectory, OpenDirectory, SweepStaging,
};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_types::{Call, DiskFormat, PoolId};

use crate::bench::{Bench, pattern, raw, size, tool};
use crate::full_disk::{Small, remount};
use crate::hook::Hook;

#[track_caller]
fn directory<'a>(bench: &Bench, command: impl Into<HostCommand<'a>>) -> DirectoryFacts {
    match bench.run(command) {
        Ok(HostAnswer::Directory(facts)) => facts,
        other => panic!("{other:?}"),
    }
}

fn pool(id: &str) -> PoolId {
    id.parse().unwrap()
}

#[test]
fn a_directory_says_how_its_file_system_is_mounted_and_what_can_be_done_there() {
    let bench = Bench::new();
    let small = Small::ext4(&bench);
    let facts = directory(&bench, OpenDirectory::new(&small.0));
    assert!(facts.writable);
    assert_eq!(facts.kind, "ext4");
    assert_eq!(facts.pool, None);
    assert_eq!(facts.locking, Locking::Works);
    // The kernel dates files by a clock that may be a tick old.
    assert!(facts.clock_skew.is_some_and(|ms| ms.abs() <= 20), "{facts:?}");
    let mount = facts.mount.unwrap();
    assert_eq!(mount.point, small.0);
    assert_eq!(mount.kind, "ext4");
    assert!(mount.source.starts_with("/dev/loop"), "{mount:?}");
    assert!(mount.options.contains(&"rw".to_owned()), "{mount:?}");
    assert_eq!(small.names(), ["lost+found"], "nothing is left of the trial");

    remount(&small.0, "ro");
    let facts = directory(&bench, OpenDirectory::new(&small.0));
    assert!(!facts.writable);
    assert_eq!((facts.locking, facts.clock_skew), (Locking::Unknown, None));
    let options = facts.mount.unwrap().options;
    assert!(options.contains(&"ro".to_owned()) && !options.contains(&"rw".to_owned()));
}

#[test]
fn a_mark_is_for_good_and_for_one_pool() {
    let bench = Bench::new();
    let path = bench.place.path();
    assert_eq!(directory(&bench, OpenDirectory::new(path)).pool, None);
    for _ in 0..2 {
        let marked = directory(&bench, MarkDirectory::new(path, &pool("one")));
        assert_eq!(marked.pool, Some(pool("one")));
    }
    let taken = bench.run(MarkDirectory::new(path, &pool("two"))).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists, "{taken}");
    assert!(taken.message().contains("pool one"), "{taken}");
    assert_eq!(
        directory(&bench, OpenDirectory::new(path)).pool,
        Some(pool("one"))
    );
    assert_eq!(bench.names(), [".strongroom-pool"]);
}

#[test]
fn a_mark_is_one_owners_until_another_takes_it_over() {
    let bench = Bench::new();
    let (path, one) = (bench.place.path(), pool("one"));
    let (here, there) = ("here".parse().unwrap(), "there".parse().unwrap());
    let mark = || MarkDirectory::new(path, &one);
    assert_eq!(
        directory(&bench, mark()).owner,
        None,
        "as earlier versions marked it"
    );
    for _ in 0..2 {
        let marked = directory(&bench, mark().owner(Some(&here)));
        assert_eq!(
            (marked.pool, marked.owner),
            (Some(one.clone()), Some(here.clone()))
        );
    }
    assert_eq!(
        directory(&bench, mark()).owner,
        Some(here.clone()),
        "it is not taken away"
    );
    let taken = bench.run(mark().owner(Some(&there))).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists, "{taken}");
    assert!(taken.message().contains("another installation, here"), "{taken}");
    let two = pool("two");
    let other_pool = MarkDirectory::new(path, &two).owner(Some(&there)).take_over(true);
    let taken = bench.run(other_pool).unwrap_err();
    assert!(taken.message().contains("pool one and not of two"), "{taken}");
    assert_eq!(directory(&bench, OpenDirectory::new(path)).owner, Some(here));
    let marked = directory(&bench, mark().owner(Some(&there)).take_over(true));
    assert_eq!((marked.pool, marked.owner), (Some(one.clone()), Some(there)));
    assert_eq!(bench.names(), [".strongroom-pool"]);
}

#[test]
fn of_many_who_mark_a_directory_at_once_one_pool_has_it() {
    let bench = Bench::new();
    let path = bench.place.path();
    let pools: Vec<_> = (0..8).map(|n| pool(&format!("pool-{n}"))).collect();
    let won = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for pool in &pools {
            let (bench, won) = (&bench, &won);
            scope.spawn(move || match bench.run(MarkDirectory::new(path, pool)) {
                Ok(HostAnswer::Directory(facts)) => {
                    assert_eq!(facts.pool.as_ref(), Some(pool));
                    won.fetch_add(1, Ordering::SeqCst);
                }
                Err(e) => assert_eq!(e.kind(), ErrorKind::AlreadyExists, "{e}"),
                Ok(other) => panic!("{other:?}"),
            });
        }
    });
    assert_eq!(won.load(Ordering::SeqCst), 1);
    assert_eq!(bench.names(), [".strongroom-pool"]);
}

#[test]
fn of_many_who_make_a_disk_of_one_name_at_once_one_has_it() {
    let bench = Bench::new();
    let path = bench.path("disk");
    let made: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (1..=4)
            .map(|mebibytes| {
                let (bench, path) = (&bench, &path);
                scope.spawn(move || {
                    let guest = size(mebibytes << 20);
                    let content = DiskContent::Blank;
                    bench.run(CreateDisk::new(
                        path,
                        DiskFormat::Qcow2,
                        guest,
                        bench.luks(),
                        content,
                    ))
                })
            })
            .collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    for lost in lost {
        let taken = lost.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists, "{taken}");
    }
    let location = DiskLocation::file(&path);
    let verified = bench.verify(&location, DiskFormat::Qcow2, bench.luks()).unwrap();
    let [Ok(HostAnswer::Disk(facts))] = won.as_slice() else {
        panic!("{won:?}")
    };
    assert_eq!(facts.guest, verified.facts.guest);
    assert_eq!(bench.names(), ["disk"]);
}

#[test]
fn what_is_no_mark_is_not_taken_for_none() {
    let bench = Bench::new();
    let path = bench.place.path();
    let mark = bench.path(".strongroom-pool");
    fs::write(bench.path("elsewhere"), "strongroom pool\none\n").unwrap();
    let spoil: [&dyn Fn(); 6] = [
        &|| fs::write(&mark, "").unwrap(),
        &|| fs::write(&mark, "strongroom pool\none").unwrap(),
        &|| fs::write(&mark, "strongroom pool\nno pool's id/\n").unwrap(),
        &|| {
            fs::write(
                &mark,
                [b"strongroom pool\n".as_slice(), &[b'a'; 9000], b"\n"].concat(),
            )
            .unwrap()
        },
        &|| std::os::unix::fs::symlink("elsewhere", &mark).unwrap(),
        &|| fs::create_dir(&mark).unwrap(),
    ];
    for (number, spoil) in spoil.iter().enumerate() {
        spoil();
        let one = pool("one");
        for command in [
            HostCommand::from(OpenDirectory::new(path)),
            MarkDirectory::new(path, &one).into(),
        ] {
            let refused = bench.run(command).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::WrongDisk, "{number}: {refused}");
            assert!(refused.message().contains("remove it"), "{number}: {refused}");
        }
        if mark.is_dir() && !mark.is_symlink() {
            fs::remove_dir(&mark).unwrap();
        } else {
            fs::remove_file(&mark).unwrap();
        }
    }
}

#[test]
fn a_directory_is_made_once_and_lists_the_files_in_it() {
    let bench = Bench::new();
    let (path, made) = (bench.path("templates"), MakeDirectory::new);
    for _ in 0..2 {
        assert_eq!(bench.run(made(&path)).unwrap(), HostAnswer::Done);
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777, 0o700);
    fs::write(path.join("a.raw"), "").unwrap();
    fs::write(path.join("b\nc"), "").unwrap();
    fs::create_dir(path.join("below")).unwrap();
    std::os::unix::fs::symlink("a.raw", path.join("link")).unwrap();
    let HostAnswer::Names(mut names) = bench.run(ListDirectory::new(&path)).unwrap() else {
        panic!("not names")
    };
    names.sort();
    assert_eq!(names, ["a.raw", "b\nc"]);

    let link = bench.path("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let file = path.join("a.raw");
    for (path, kind) in [
        (link.as_path(), ErrorKind::InvalidRequest),
        (file.as_path(), ErrorKind::InvalidRequest),
        ("relative".as_ref(), ErrorKind::InvalidRequest),
    ] {
        for command in [
            HostCommand::from(MakeDirectory::new(path)),
            ListDirectory::new(path).into(),
            OpenDirectory::new(path).into(),
            MarkDirectory::new(path, &pool("one")).into(),
        ] {
            let refused = bench.run(command).unwrap_err();
            assert_eq!(refused.kind(), kind, "{refused}");
        }
    }
    let far = bench.path("missing/below");
    assert_eq!(bench.run(made(&far)).unwrap_err().kind(), ErrorKind::NotFound);
}

/// Makes a disk from a template while something happens before the first, second, .. tool that is run for it, until that is too late
/// for the disk; gives each failure and its number to `check`.
fn while_making(
    bench: &Bench,
    path: &Path,
    happens: impl Fn() + Send + Sync + Clone + 'static,
    check: impl Fn(EndpointError),
) {
    let template = bench.path("template");
    fs::write(&template, pattern(1 << 20)).unwrap();
    for at in 0.. {
        let happens = happens.clone();
        let hook = Hook::before(move |number, _| {
            if number == at {
                happens();
            }
        });
        let agent = HostAgent::new("here".parse().unwrap(), ToolPaths::system(), Arc::new(hook));
        let content = DiskContent::Template(raw(&template));
        let create = CreateDisk::new(path, DiskFormat::Qcow2, size(1 << 20), bench.luks(), content);
        match agent.run(&Call::new(), &create.into()) {
            Err(failed) => check(failed),
            Ok(_) => {
                assert!(at > 2, "only {at} tools were run");
                return;
            }
        }
    }
}

/// Sweeps until nothing is left. A child that another test is about to start may hold a lock for a moment.
fn sweep_all(bench: &Bench, directory: &Path) {
    let begun = Instant::now();
    while fs::read_dir(directory).unwrap().count() > 0 {
        bench.run(SweepStaging::new(directory)).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60), "something stays");
    }
}

#[test]
fn a_file_system_that_becomes_read_only_in_the_middle_leaves_no_disk_and_takes_one_later() {
    let bench = Bench::new();
    let small = Small::ext4(&bench);
    let (path, point) = (small.0.join("disk"), small.0.clone());
    let happens = move || remount(&point, "ro");
    while_making(&bench, &path, happens, |failed| {
        assert_eq!(failed.kind(), ErrorKind::PermissionDenied, "{failed}");
        assert!(!path.exists());
        remount(&small.0, "rw");
        fs::remove_dir(small.0.join("lost+found")).unwrap_or_default();
        sweep_all(&bench, &small.0);
    });
}

#[test]
fn a_directory_that_vanishes_in_the_middle_takes_the_unfinished_disk_with_it() {
    let bench = Bench::new();
    let (pool, away) = (bench.path("pool"), bench.path("away"));
    fs::create_dir(&pool).unwrap();
    let (from, to) = (pool.clone(), away.clone());
    let happens = move || fs::rename(&from, &to).unwrap();
    while_making(&bench, &pool.join("disk"), happens, |failed| {
        assert_eq!(failed.kind(), ErrorKind::NotFound, "{failed}");
        fs::rename(&away, &pool).unwrap();
        sweep_all(&bench, &pool);
    });
}

#[test]
fn a_directory_that_becomes_another_file_system_in_the_middle_gets_nothing_there() {
    let bench = Bench::new();
    let pool = bench.path("pool");
    fs::create_dir(&pool).unwrap();
    let over = pool.clone();
    let happens = move || {
        let done = tool("mount", &["-t", "tmpfs", "none", over.to_str().unwrap()]);
        assert_eq!(done.code, 0, "{}", done.message());
    };
    while_making(&bench, &pool.join("disk"), happens, |failed| {
        assert_eq!(failed.kind(), ErrorKind::NotFound, "{failed}");
        assert_eq!(fs::read_dir(&pool).unwrap().count(), 0);
        assert_eq!(tool("umount", &["--lazy", pool.to_str().unwrap()]).code, 0);
        sweep_all(&bench, &pool);
    });
    tool("umount", &["--lazy", pool.to_str().unwrap()]);
}
