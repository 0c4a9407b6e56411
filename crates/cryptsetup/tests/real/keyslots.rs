use std::sync::Arc;

use strongroom_cryptsetup::{
    Cryptsetup, CryptsetupError, HeaderError, Luks2Area, Overwrite, Pbkdf, Precaution, Target,
};
use strongroom_exec::{CommandSpec, Completed, Program, RunError, Runner, SystemRunner, Watch};
use strongroom_types::EncryptionFormat;

use crate::place::{BOTH, Place, call, cheap, cryptsetup, fresh, key, on_file_and_loop, room, write};

const WAIVED: Precaution<'static> = Precaution::Waived;

fn is_wrong<T>(outcome: &Result<T, CryptsetupError>) -> bool {
    matches!(outcome, Err(CryptsetupError::WrongPassphrase { .. }))
}

#[test]
fn an_added_key_opens_beside_the_first() {
    let tool = cryptsetup();
    for format in BOTH {
        on_file_and_loop(room(format), |path| {
            let (first, second) = (key(), key());
            let target = Target::new(format, path).unwrap();
            tool.format(&call(), &target, &fresh(), &first, Overwrite::Nothing)
                .unwrap();
            let place = Place::new();
            let backup = tool.back_up_header(&call(), &target, place.path("b")).unwrap();
            let safe = Precaution::Backup(&backup);
            let slot = tool
                .add_key(&call(), &target, &first, &second, cheap(), safe)
                .unwrap();
            assert_eq!(slot, 1);
            assert_eq!(tool.slots_opened_by(&call(), &target, &first).unwrap(), [0]);
            assert_eq!(tool.slots_opened_by(&call(), &target, &second).unwrap(), [1]);
        });
    }
}

#[test]
fn adding_twice_takes_one_keyslot() {
    let (place, first, second) = (Place::new(), key(), key());
    let target = place.volume(EncryptionFormat::Luks1, &first);
    let tool = cryptsetup();
    for _ in 0..2 {
        assert_eq!(
            tool.add_key(&call(), &target, &first, &second, cheap(), WAIVED)
                .unwrap(),
            1
        );
    }
    assert_eq!(tool.header(&call(), &target).unwrap().keyslots.len(), 2);
}

#[test]
fn a_key_is_added_only_by_one_that_opens() {
    for format in BOTH {
        let (place, first, stranger) = (Place::new(), key(), key());
        let target = place.volume(format, &first);
        let added = cryptsetup().add_key(&call(), &target, &stranger, &key(), cheap(), WAIVED);
        assert!(is_wrong(&added), "{added:?}");
        assert_eq!(cryptsetup().header(&call(), &target).unwrap().keyslots.len(), 1);
    }
}

#[test]
fn the_ninth_key_of_luks1_is_refused_and_an_overwrite_takes_a_backup() {
    let (place, first) = (Place::new(), key());
    let target = place.volume(EncryptionFormat::Luks1, &first);
    let tool = cryptsetup();
    for expected in 1..8 {
        assert_eq!(
            tool.add_key(&call(), &target, &first, &key(), cheap(), WAIVED)
                .unwrap(),
            expected
        );
    }
    let ninth = key();
    let added = tool.add_key(&call(), &target, &first, &ninth, cheap(), WAIVED);
    assert!(
        matches!(added, Err(CryptsetupError::SlotsFull { .. })),
        "{added:?}"
    );
    let changed = tool.change_key(&call(), &target, &first, &ninth, cheap(), WAIVED);
    assert!(
        matches!(changed, Err(CryptsetupError::SlotsFull { .. })),
        "{changed:?}"
    );

    let backup = tool.back_up_header(&call(), &target, place.path("b")).unwrap();
    let safe = Precaution::Backup(&backup);
    assert_eq!(
        tool.change_key(&call(), &target, &first, &ninth, cheap(), safe)
            .unwrap(),
        0
    );
    assert!(is_wrong(&tool.test_passphrase(&call(), &target, &first)));
    tool.test_passphrase(&call(), &target, &ninth).unwrap();
    assert_eq!(tool.header(&call(), &target).unwrap().keyslots.len(), 8);
}

#[test]
fn a_luks2_header_without_room_says_so_and_an_overwrite_takes_a_backup() {
    let (place, first, second) = (Place::new(), key(), key());
    let target = place.blank(EncryptionFormat::Luks2);
    let tool = cryptsetup();
    let how = fresh().area(Luks2Area::SMALLEST);
    let header = tool
        .format(&call(), &target, &how, &first, Overwrite::Nothing)
        .unwrap()
        .header;
    assert_eq!(header.free_keyslots, 0);
    let added = tool.add_key(&call(), &target, &first, &second, cheap(), WAIVED);
    assert!(
        matches!(added, Err(CryptsetupError::SlotsFull { .. })),
        "{added:?}"
    );
    let backup = tool.back_up_header(&call(), &target, place.path("b")).unwrap();
    let slot = tool
        .change_key(
            &call(),
            &target,
            &first,
            &second,
            cheap(),
            Precaution::Backup(&backup),
        )
        .unwrap();
    assert_eq!(tool.slots_opened_by(&call(), &target, &second).unwrap(), [slot]);
    assert!(is_wrong(&tool.test_passphrase(&call(), &target, &first)));
}

#[test]
fn a_changed_key_opens_and_the_old_one_does_not() {
    for format in BOTH {
        let (place, old, new) = (Place::new(), key(), key());
        let target = place.volume(format, &old);
        let tool = cryptsetup();
        assert_eq!(
            tool.change_key(&call(), &target, &old, &new, cheap(), WAIVED)
                .unwrap(),
            1
        );
        tool.test_passphrase(&call(), &target, &new).unwrap();
        assert!(is_wrong(&tool.test_passphrase(&call(), &target, &old)));
        assert_eq!(tool.header(&call(), &target).unwrap().keyslots.len(), 1);

        let again = tool
            .change_key(&call(), &target, &old, &new, cheap(), WAIVED)
            .unwrap();
        assert_eq!(again, 1, "a repeated change finds its work done");
        let neither = tool.change_key(&call(), &target, &old, &key(), cheap(), WAIVED);
        assert!(is_wrong(&neither), "{neither:?}");
    }
}

#[test]
fn a_change_that_was_interrupted_half_way_is_finished() {
    for format in BOTH {
        let (place, old, new) = (Place::new(), key(), key());
        let target = place.volume(format, &old);
        let tool = cryptsetup();
        tool.add_key(&call(), &target, &old, &new, cheap(), WAIVED)
            .unwrap();
        assert_eq!(
            tool.change_key(&call(), &target, &old, &new, cheap(), WAIVED)
                .unwrap(),
            1
        );
        assert!(is_wrong(&tool.test_passphrase(&call(), &target, &old)));
        assert_eq!(tool.slots_opened_by(&call(), &target, &new).unwrap(), [1]);
    }
}

#[test]
fn changing_a_key_to_itself_is_refused_and_loses_nothing() {
    for format in BOTH {
        let (place, old) = (Place::new(), key());
        let target = place.volume(format, &old);
        let changed = cryptsetup().change_key(&call(), &target, &old, &old, cheap(), WAIVED);
        assert!(
            matches!(changed, Err(CryptsetupError::SamePassphrase { slot: 0, .. })),
            "{changed:?}"
        );
        cryptsetup().test_passphrase(&call(), &target, &old).unwrap();
    }
}

#[test]
fn a_removed_key_opens_nothing_and_the_others_do() {
    for format in BOTH {
        let (place, first, second) = (Place::new(), key(), key());
        let target = place.volume(format, &first);
        let tool = cryptsetup();
        tool.add_key(&call(), &target, &first, &second, cheap(), WAIVED)
            .unwrap();
        assert_eq!(
            tool.remove_key(&call(), &target, &first, &second, WAIVED)
                .unwrap(),
            [0]
        );
        assert!(is_wrong(&tool.test_passphrase(&call(), &target, &first)));
        tool.test_passphrase(&call(), &target, &second).unwrap();
        assert!(is_wrong(&tool.remove_key(
            &call(),
            &target,
            &first,
            &second,
            WAIVED
        )));
    }
}

#[test]
fn the_last_keyslot_stays() {
    for format in BOTH {
        let (place, only, stranger) = (Place::new(), key(), key());
        let target = place.volume(format, &only);
        let tool = cryptsetup();
        let is_last = |e: CryptsetupError| matches!(e, CryptsetupError::LastSlot { slot: 0, .. });
        assert!(is_last(
            tool.remove_key(&call(), &target, &only, &only, WAIVED)
                .unwrap_err()
        ));
        assert!(is_last(
            tool.remove_key(&call(), &target, &only, &stranger, WAIVED)
                .unwrap_err()
        ));
        assert!(is_last(
            tool.kill_slot(&call(), &target, 0, &only, WAIVED).unwrap_err()
        ));
        tool.test_passphrase(&call(), &target, &only).unwrap();
    }
}

#[test]
fn a_keyslot_is_killed_only_when_somebody_still_gets_in() {
    for format in BOTH {
        let (place, first, second, stranger) = (Place::new(), key(), key(), key());
        let target = place.volume(format, &first);
        let tool = cryptsetup();
        tool.add_key(&call(), &target, &first, &second, cheap(), WAIVED)
            .unwrap();
        let out = tool.kill_slot(&call(), &target, 0, &first, WAIVED);
        assert!(
            matches!(out, Err(CryptsetupError::LockedOut { slot: 0, .. })),
            "{out:?}"
        );
        assert!(is_wrong(&tool.kill_slot(&call(), &target, 0, &stranger, WAIVED)));
        let none = tool.kill_slot(&call(), &target, 5, &first, WAIVED);
        assert!(
            matches!(none, Err(CryptsetupError::NoSuchSlot { slot: 5, .. })),
            "{none:?}"
        );
        assert_eq!(tool.header(&call(), &target).unwrap().keyslots.len(), 2);

        tool.kill_slot(&call(), &target, 0, &second, WAIVED).unwrap();
        assert!(is_wrong(&tool.test_passphrase(&call(), &target, &first)));
        tool.test_passphrase(&call(), &target, &second).unwrap();
    }
}

#[test]
fn a_backup_that_is_old_or_anothers_is_no_precaution() {
    let (place, first, second) = (Place::new(), key(), key());
    let tool = cryptsetup();
    let target = place.volume(EncryptionFormat::Luks1, &first);
    let old = tool.back_up_header(&call(), &target, place.path("old")).unwrap();
    tool.add_key(
        &call(),
        &target,
        &first,
        &second,
        cheap(),
        Precaution::Backup(&old),
    )
    .unwrap();
    let other = Target::new(EncryptionFormat::Luks1, place.file("other", 8 << 20)).unwrap();
    tool.format(&call(), &other, &fresh(), &first, Overwrite::Nothing)
        .unwrap();
    let anothers = tool
        .back_up_header(&call(), &other, place.path("another's"))
        .unwrap();
    for backup in [&old, &anothers] {
        let safe = Precaution::Backup(backup);
        let is_stale = |e: CryptsetupError| matches!(e, CryptsetupError::StaleBackup { backup: b, .. } if b == backup.path());
        assert!(is_stale(
            tool.add_key(&call(), &target, &first, &key(), cheap(), safe)
                .unwrap_err()
        ));
        assert!(is_stale(
            tool.change_key(&call(), &target, &first, &key(), cheap(), safe)
                .unwrap_err()
        ));
        assert!(is_stale(
            tool.remove_key(&call(), &target, &first, &second, safe)
                .unwrap_err()
        ));
        assert!(is_stale(
            tool.kill_slot(&call(), &target, 0, &second, safe).unwrap_err()
        ));
    }
    assert_eq!(tool.header(&call(), &target).unwrap().keyslots.len(), 2);
}

/// The command alone does what it says, also to the last key: [`Cryptsetup::remove_key`](strongroom_cryptsetup::Cryptsetup)
/// is for programs.
#[test]
fn the_bare_command_removes_even_the_last_key() {
    for format in BOTH {
        let (place, only) = (Place::new(), key());
        let target = place.volume(format, &only);
        let tool = cryptsetup();
        let spec = strongroom_cryptsetup::command::remove_key(tool.program(), &target, &only);
        let done = SystemRunner::new().run(&spec, &Watch::nobody()).unwrap();
        assert_eq!(done.code, 0, "{}", done.message());
        let opened = tool.test_passphrase(&call(), &target, &only);
        assert!(
            matches!(opened, Err(CryptsetupError::NoKeyslot { .. })),
            "{opened:?}"
        );
    }
}

#[test]
fn a_key_may_cost_what_its_own_origin_asks_for() {
    let (place, first, second) = (Place::new(), key(), key());
    let target = place.volume(EncryptionFormat::Luks2, &first);
    let cost = Pbkdf::pbkdf2(5000).unwrap();
    let slot = cryptsetup()
        .add_key(&call(), &target, &first, &second, cost, WAIVED)
        .unwrap();
    let header = cryptsetup().header(&call(), &target).unwrap();
    let kdf = strongroom_cryptsetup::Kdf::Pbkdf2 {
        hash: "sha256".into(),
        iterations: 5000,
    };
    assert_eq!(header.keyslots.get(&slot).map(|s| &s.kdf), Some(&kdf));
}

/// The tool, but for tries of passphrases, which would take minutes: any opens the volume, and none a keyslot by its number.
#[derive(Debug)]
struct NoTries;

impl Runner for NoTries {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        let words: Vec<_> = command.arguments().collect();
        if words.first().is_none_or(|word| *word != "open") {
            return SystemRunner::new().run(command, watch);
        }
        let shell = Program::find("sh").unwrap_or_else(|e| panic!("{e}; install the Debian package dash"));
        let by_number = words.iter().any(|word| *word == "--key-slot");
        let answer = CommandSpec::new(shell).args(["-c", if by_number { "exit 2" } else { "exit 0" }]);
        SystemRunner::new().run(&answer, watch)
    }
}

#[test]
fn a_key_that_would_make_the_volume_too_costly_to_open_is_refused_before_it_is_added() {
    let (place, mine) = (Place::new(), key());
    let target = place.volume(EncryptionFormat::Luks1, &mine);
    write(target.device(), 164, &46_000_000u32.to_be_bytes());
    let before = std::fs::read(target.device()).unwrap();
    let tool = Cryptsetup::new(cryptsetup().program().clone(), Arc::new(NoTries));
    let costly = Pbkdf::pbkdf2(10_000_000).unwrap();
    let added = tool
        .add_key(&call(), &target, &mine, &key(), costly, WAIVED)
        .unwrap_err();
    assert!(
        matches!(
            added,
            CryptsetupError::TooCostly {
                source: HeaderError::Costly {
                    iterations: 102_001_000,
                    ..
                },
                ..
            }
        ),
        "{added:?}"
    );
    assert!(std::fs::read(target.device()).unwrap() == before);
}
