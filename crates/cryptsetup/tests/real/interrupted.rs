use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_cryptsetup::{
    Content, Cryptsetup, CryptsetupError, Format, Inspection, Look, Overwrite, Precaution, Target, Uuid,
    inspect,
};
use strongroom_exec::{CommandSpec, Completed, Program, RunError, Runner, SystemRunner, Watch};
use strongroom_types::EncryptionFormat;

use crate::place::{BOTH, Place, call, cheap, cryptsetup, fresh, key, room, write};

/// Runs this action of cryptsetup for so long and then kills it, as a power cut would.
#[derive(Debug)]
struct Impatient {
    action: &'static str,
    patience: Duration,
}

impl Runner for Impatient {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        if command.arguments().next() != Some(self.action.as_ref()) {
            return SystemRunner::new().run(command, watch);
        }
        let timeout =
            Program::find("timeout").unwrap_or_else(|e| panic!("{e}; install the Debian package coreutils"));
        let limit = format!("{:.3}", self.patience.as_secs_f64());
        let mut spec = CommandSpec::new(timeout).args(["-s", "KILL", &limit]);
        spec.push(command.program().path());
        for word in command.arguments() {
            spec.push(word);
        }
        for descriptor in command.descriptors() {
            spec.pass(*descriptor);
        }
        SystemRunner::new().run(&spec, watch)
    }
}

/// cryptsetup, one action of which is killed after a part of a while.
fn hurried(action: &'static str, whole: Duration, part: u32) -> Cryptsetup {
    let patience = (whole * part / STEPS).max(Duration::from_millis(1));
    let runner = Impatient { action, patience };
    Cryptsetup::new(cryptsetup().program().clone(), Arc::new(runner))
}

/// Instants at which an action is killed, spread over the time that it takes.
const STEPS: u32 = 12;

/// Whether it was killed. Any other failure fails the test.
fn was_killed<T>(outcome: Result<T, CryptsetupError>) -> bool {
    match outcome {
        Ok(_) => false,
        // timeout(1) dies with what it kills, or reports it.
        Err(CryptsetupError::UnexpectedExit { code: 137, .. })
        | Err(CryptsetupError::Run {
            source: RunError::Signal { signal: 9, .. },
            ..
        }) => true,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_format_killed_at_any_instant_is_begun_anew_by_whoever_knows_its_uuid() {
    let tool = cryptsetup();
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let begun = Instant::now();
        tool.format(&call(), &place.blank(format), &fresh(), &mine, Overwrite::Nothing)
            .unwrap();
        let whole = begun.elapsed();
        let mut torn = 0;
        // On a busy machine all kills of a round may miss the middle.
        for (number, step) in (1..=2 * STEPS).cycle().take(8 * STEPS as usize).enumerate() {
            if number >= STEPS as usize && torn > 0 {
                break;
            }
            let path = place.file(format!("{format}-{step}"), room(format));
            let target = Target::new(format, &path).unwrap();
            let how = fresh();
            let formatted =
                hurried("luksFormat", whole, step).format(&call(), &target, &how, &mine, Overwrite::Nothing);
            torn += u32::from(
                was_killed(formatted) && inspect(&call(), &path, Look::Whole).unwrap() != Inspection::Blank,
            );
            tool.format(&call(), &target, &how, &mine, Overwrite::OurUnfinished)
                .unwrap();
            tool.test_passphrase(&call(), &target, &mine).unwrap();
            std::fs::remove_file(&path).unwrap();
        }
        assert!(
            torn > 0,
            "{format}: no kill hit the middle of the {whole:?} that a format takes"
        );
    }
}

/// How long this takes when nobody interrupts it.
fn time(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

#[test]
fn an_erase_killed_at_any_instant_is_finished_by_the_next() {
    let tool = cryptsetup();
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let made = place.volume(format, &mine);
        let volume = tool.uuid(&call(), &made).unwrap();
        let whole = std::fs::read(made.device()).unwrap();
        let path = place.path("copy");
        std::fs::write(&path, &whole).unwrap();
        let target = Target::new(format, &path).unwrap();
        let takes = time(|| tool.erase(&call(), &target, volume).unwrap());
        let mut killed = 0;
        for step in 1..=STEPS {
            std::fs::write(&path, &whole).unwrap();
            let erased = hurried("luksErase", takes, step).erase(&call(), &target, volume);
            killed += u32::from(was_killed(erased));
            tool.erase(&call(), &target, volume).unwrap();
            let opened = tool.test_passphrase(&call(), &target, &mine);
            assert!(
                matches!(opened, Err(CryptsetupError::NoKeyslot { .. })),
                "{opened:?}"
            );
        }
        assert!(killed > 0, "{format}: no erase was killed in {takes:?}");
    }
}

#[test]
fn a_change_of_keys_killed_at_any_instant_leaves_a_key_that_opens_and_is_finished_by_the_next() {
    let tool = cryptsetup();
    for format in BOTH {
        let (place, old, new) = (Place::new(), key(), key());
        let made = place.volume(format, &old);
        let whole = std::fs::read(made.device()).unwrap();
        let path = place.path("copy");
        let target = Target::new(format, &path).unwrap();
        let change =
            |with: &Cryptsetup| with.change_key(&call(), &target, &old, &new, cheap(), Precaution::Waived);
        let opens = |key| match tool.test_passphrase(&call(), &target, key) {
            Ok(()) => true,
            Err(CryptsetupError::WrongPassphrase { .. }) => false,
            Err(other) => panic!("{other:?}"),
        };
        std::fs::write(&path, &whole).unwrap();
        let takes = time(|| assert_eq!(change(&tool).unwrap(), 1)) / 4;
        let mut killed = 0;
        for action in ["luksAddKey", "luksKillSlot"] {
            for step in (1..=STEPS).step_by(3) {
                std::fs::write(&path, &whole).unwrap();
                killed += u32::from(was_killed(change(&hurried(action, takes, step))));
                assert!(
                    opens(&old) || opens(&new),
                    "{format}: {action} killed at step {step}"
                );
                change(&tool).unwrap();
                assert!(
                    opens(&new) && !opens(&old),
                    "{format}: {action} killed at step {step}"
                );
            }
        }
        assert!(killed > 0, "{format}: nothing was killed");
    }
}

#[test]
fn without_saying_so_even_ones_own_unfinished_header_is_refused() {
    let (place, mine) = (Place::new(), key());
    let target = place.blank(EncryptionFormat::Luks1);
    let how = fresh();
    cryptsetup()
        .format(&call(), &target, &how, &mine, Overwrite::Nothing)
        .unwrap();
    let again = cryptsetup().format(&call(), &target, &how, &mine, Overwrite::Nothing);
    assert!(matches!(
        again,
        Err(CryptsetupError::NotBlank {
            found: Content::Luks1,
            ..
        })
    ));
    cryptsetup()
        .format(&call(), &target, &how, &mine, Overwrite::OurUnfinished)
        .unwrap();
}

#[test]
fn a_header_with_another_uuid_is_not_ours() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let target = place.volume(format, &mine);
        let stranger = cryptsetup().format(&call(), &target, &fresh(), &key(), Overwrite::OurUnfinished);
        assert!(
            matches!(stranger, Err(CryptsetupError::NotBlank { .. })),
            "{stranger:?}"
        );
        cryptsetup().test_passphrase(&call(), &target, &mine).unwrap();
    }
}

#[test]
fn a_volume_that_has_been_used_is_refused_even_when_it_is_ours() {
    for format in BOTH {
        for offset in [0, (4 << 20) - 1] {
            let (place, mine) = (Place::new(), key());
            let target = place.blank(format);
            let how = fresh();
            let header = how.header_size(format).get();
            cryptsetup()
                .format(&call(), &target, &how, &mine, Overwrite::Nothing)
                .unwrap();
            write(target.device(), header + offset, b"!");
            let used = cryptsetup().format(&call(), &target, &how, &key(), Overwrite::OurUnfinished);
            assert!(matches!(used, Err(CryptsetupError::NotBlank { .. })), "{used:?}");
            cryptsetup().test_passphrase(&call(), &target, &mine).unwrap();
        }
    }
}

#[test]
fn keyslots_without_a_header_are_ours_only_within_the_header() {
    let uuid = Uuid::new_v4();
    let how = Format::new(uuid, cheap());
    for (offset, ours) in [
        (4095, false),
        (4096, true),
        ((2 << 20) - 1, true),
        (2 << 20, false),
    ] {
        let place = Place::new();
        let target = place.blank(EncryptionFormat::Luks1);
        write(target.device(), offset, b"!");
        let outcome = cryptsetup().format(&call(), &target, &how, &key(), Overwrite::OurUnfinished);
        match outcome {
            Ok(_) => assert!(ours, "{offset} is not where keyslots lie"),
            Err(CryptsetupError::NotBlank { offset: at, .. }) => assert!(!ours && at == offset, "{offset}"),
            Err(other) => panic!("{other:?}"),
        }
        let careful = place.file("careful", room(EncryptionFormat::Luks1));
        write(&careful, offset, b"!");
        let target = Target::new(EncryptionFormat::Luks1, &careful).unwrap();
        let outcome = cryptsetup().format(&call(), &target, &how, &key(), Overwrite::Nothing);
        assert!(matches!(outcome, Err(CryptsetupError::NotBlank { .. })));
    }
}

#[test]
fn a_cancelled_call_runs_nothing() {
    let place = Place::new();
    let target = place.blank(EncryptionFormat::Luks1);
    let cancelled = call();
    cancelled.cancellation().cancel();
    let stopped = cryptsetup().format(&cancelled, &target, &fresh(), &key(), Overwrite::Nothing);
    assert!(matches!(stopped, Err(CryptsetupError::Interrupted { .. })));
    let late = call().with_timeout(Duration::ZERO);
    assert!(matches!(
        cryptsetup().is_luks(&late, &target),
        Err(CryptsetupError::Interrupted { .. })
    ));
}
