//! Several at once, and who else has the device.

use std::sync::{Barrier, Mutex};

use strongroom_cryptsetup::{CryptsetupError, Overwrite, RestoreOnto, Target};
use strongroom_exec::{CommandSpec, Program, RunError, Runner, SystemRunner, Watch};
use strongroom_types::{Call, EncryptionFormat};

use crate::place::{BOTH, Place, call, cryptsetup, fresh, key, on_file_and_loop, room};

const AT_ONCE: usize = 4;

/// What each of several threads gets from work that all begin at the same time.
fn at_once<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
    let start = Barrier::new(AT_ONCE);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    work()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn of_several_formats_at_once_one_formats_and_the_others_find_its_header() {
    for format in BOTH {
        on_file_and_loop(room(format), |path| {
            let target = Target::new(format, path).unwrap();
            let outcomes = at_once(|| {
                let mine = key();
                let made = cryptsetup().format(&call(), &target, &fresh(), &mine, Overwrite::Nothing);
                (mine, made)
            });
            let (winners, others): (Vec<_>, Vec<_>) =
                outcomes.into_iter().partition(|(_, made)| made.is_ok());
            assert_eq!(winners.len(), 1, "{others:?}");
            for (_, made) in others {
                assert!(matches!(made, Err(CryptsetupError::NotBlank { .. })), "{made:?}");
            }
            cryptsetup()
                .test_passphrase(&call(), &target, &winners[0].0)
                .unwrap();
        });
    }
}

#[test]
fn of_several_formats_with_a_new_header_file_one_makes_it() {
    for format in BOTH {
        let place = Place::new();
        let target = Target::new(format, place.file("payload", 4 << 20))
            .and_then(|target| target.with_header(place.path("header")))
            .unwrap();
        let outcomes = at_once(|| {
            let mine = key();
            let made = cryptsetup().format(&call(), &target, &fresh(), &mine, Overwrite::Nothing);
            (mine, made)
        });
        let (winners, others): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(_, made)| made.is_ok());
        assert_eq!(winners.len(), 1, "{others:?}");
        cryptsetup()
            .test_passphrase(&call(), &target, &winners[0].0)
            .unwrap();
    }
}

#[test]
fn of_several_backups_to_one_path_one_is_made_and_stays() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let target = place.volume(format, &mine);
        let outcomes = at_once(|| cryptsetup().back_up_header(&call(), &target, place.path("backups/b")));
        for nowhere in outcomes {
            assert!(
                matches!(nowhere, Err(CryptsetupError::BadParameters { .. })),
                "{nowhere:?}"
            );
        }
        std::fs::create_dir(place.path("backups")).unwrap();
        let outcomes = at_once(|| cryptsetup().back_up_header(&call(), &target, place.path("backups/b")));
        let (made, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(made.len(), 1, "{refused:?}");
        for other in refused {
            assert!(matches!(other, Err(CryptsetupError::Exists { .. })), "{other:?}");
        }
        let backup = cryptsetup()
            .header_backup(&call(), format, place.path("backups/b"))
            .unwrap();
        assert!(backup.is_current(&target).unwrap());
        let names: Vec<_> = place
            .path("backups")
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["b"], "nothing else is left");
    }
}

/// What is refused while QEMU has this file or device open.
fn while_qemu_writes<T: Send>(path: &std::path::Path, work: impl Fn() -> T + Sync) -> T {
    let place = Place::new();
    let source = place.path("source");
    std::fs::write(&source, vec![1; 6 << 20]).unwrap();
    let program =
        Program::find("qemu-img").unwrap_or_else(|e| panic!("{e}; install the Debian package qemu-utils"));
    // Takes an hour: of three pieces the first is written at once, and each of the others waits for its turn.
    let copy = CommandSpec::new(program)
        .args(["convert", "-p", "-n", "-r", "2048", "-f", "raw", "-O", "raw"])
        .arg(source)
        .arg(path);
    let (until, outcome) = (Call::new(), Mutex::new(None));
    let each_line = |line: &[u8]| {
        let line = line.trim_ascii();
        let has_begun = line.starts_with(b"(") && !line.starts_with(b"(0.00");
        if has_begun && !until.cancellation().is_cancelled() {
            *outcome.lock().unwrap() = Some(work());
            until.cancellation().cancel();
        }
    };
    let copied = SystemRunner::new().run(&copy, &Watch::call(&until).with_lines(&each_line));
    assert!(matches!(copied, Err(RunError::Cancelled { .. })), "{copied:?}");
    outcome.into_inner().unwrap().unwrap()
}

#[test]
fn a_disk_that_qemu_has_open_is_neither_formatted_nor_restored() {
    let (place, mine) = (Place::new(), key());
    let volume = place.volume(EncryptionFormat::Luks1, &mine);
    let tool = cryptsetup();
    let backup = tool
        .back_up_header(&call(), &volume, place.path("backup"))
        .unwrap();
    on_file_and_loop(room(EncryptionFormat::Luks2), |path| {
        let is_busy =
            |e: CryptsetupError| matches!(e, CryptsetupError::Busy { path: named } if named == path);
        for format in BOTH {
            let target = Target::new(format, path).unwrap();
            let formatted = || tool.format(&call(), &target, &fresh(), &mine, Overwrite::Nothing);
            assert!(is_busy(while_qemu_writes(path, formatted).unwrap_err()));
        }
        let target = Target::new(EncryptionFormat::Luks1, path).unwrap();
        let restored = || tool.restore_header(&call(), &backup, &target, &mine, RestoreOnto::LostHeader);
        assert!(is_busy(while_qemu_writes(path, restored).unwrap_err()));
        restored().unwrap();
    });
}

#[test]
fn who_waits_for_a_device_can_be_told_to_stop() {
    let place = Place::new();
    for format in BOTH {
        let target = place.blank(format);
        let held = std::fs::File::open(target.device()).unwrap();
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let until = call().with_timeout(std::time::Duration::from_millis(50));
        let stopped = cryptsetup().format(&until, &target, &fresh(), &key(), Overwrite::Nothing);
        assert!(
            matches!(stopped, Err(CryptsetupError::Interrupted { .. })),
            "{stopped:?}"
        );
        drop(held);
        cryptsetup()
            .format(&call(), &target, &fresh(), &key(), Overwrite::Nothing)
            .unwrap();
    }
}

#[test]
fn a_header_that_would_lie_on_its_own_payload_is_refused() {
    let place = Place::new();
    let device = place.file("disk", 24 << 20);
    let alias = place.path("alias");
    std::fs::hard_link(&device, &alias).unwrap();
    for header in [&device, &alias] {
        for format in BOTH {
            let target = Target::new(format, &device).unwrap().with_header(header).unwrap();
            let refused = cryptsetup().format(&call(), &target, &fresh(), &key(), Overwrite::OurUnfinished);
            assert!(
                matches!(&refused, Err(CryptsetupError::HeaderOnPayload { path }) if path == header),
                "{refused:?}"
            );
        }
    }
    assert_eq!(
        strongroom_cryptsetup::inspect(&call(), &device, strongroom_cryptsetup::Look::Whole).unwrap(),
        strongroom_cryptsetup::Inspection::Blank
    );
}
