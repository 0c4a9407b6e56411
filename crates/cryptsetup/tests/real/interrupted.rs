use std::time::{Duration, Instant};

use strongroom_cryptsetup::{Content, CryptsetupError, Format, Overwrite, Target, Uuid};
use strongroom_exec::RunError;
use strongroom_types::EncryptionFormat;

use crate::place::{BOTH, Place, call, cheap, cryptsetup, fresh, key, room, write};

#[test]
fn a_format_killed_at_any_instant_is_begun_anew_by_whoever_knows_its_uuid() {
    let tool = cryptsetup();
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let begun = Instant::now();
        tool.format(&call(), &place.blank(format), &fresh(), &mine, Overwrite::Nothing)
            .unwrap();
        let whole = begun.elapsed();
        let mut killed = 0;
        for step in 1..=12u32 {
            let path = place.file(format!("{format}-{step}"), room(format));
            let target = Target::new(format, &path).unwrap();
            let how = fresh();
            let hurried = call().with_timeout(whole * step / 12);
            match tool.format(&hurried, &target, &how, &mine, Overwrite::Nothing) {
                Ok(_) => {}
                Err(CryptsetupError::Run {
                    source: RunError::Deadline { .. },
                    ..
                }) => killed += 1,
                Err(CryptsetupError::Interrupted { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
            tool.format(&call(), &target, &how, &mine, Overwrite::OurUnfinished)
                .unwrap();
            tool.test_passphrase(&call(), &target, &mine).unwrap();
        }
        assert!(
            killed > 0,
            "no deadline fell into the {whole:?} that a format takes"
        );
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
