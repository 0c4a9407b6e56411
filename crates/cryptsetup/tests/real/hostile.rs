use std::time::{Duration, Instant};

use strongroom_cryptsetup::{CryptsetupError, HeaderError, Target};
use strongroom_types::EncryptionFormat;

use crate::place::{BOTH, Place, call, cryptsetup, key, write};

/// Pseudo-random bytes that are the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8))
        .flat_map(|_| next())
        .take(length)
        .collect()
}

#[test]
fn random_bytes_are_no_header() {
    let place = Place::new();
    let target = Target::new(EncryptionFormat::Luks1, place.file("noise", 20 << 20)).unwrap();
    for seed in 1..20 {
        write(target.device(), 0, &noise(seed, 8192));
        for format in BOTH {
            let target = Target::new(format, target.device()).unwrap();
            assert!(matches!(
                cryptsetup().header(&call(), &target),
                Err(CryptsetupError::NotLuks { .. })
            ));
            assert!(!cryptsetup().is_luks(&call(), &target).unwrap());
        }
    }
}

#[test]
fn random_bytes_behind_a_magic_are_refused() {
    for (format, version) in [(EncryptionFormat::Luks1, 1), (EncryptionFormat::Luks2, 2)] {
        let place = Place::new();
        let target = Target::new(format, place.file("noise", 20 << 20)).unwrap();
        for seed in 1..20 {
            write(target.device(), 0, &noise(seed, 64 << 10));
            write(
                target.device(),
                0,
                &[b'L', b'U', b'K', b'S', 0xba, 0xbe, 0, version],
            );
            let refused = cryptsetup().test_passphrase(&call(), &target, &key());
            assert!(
                matches!(refused, Err(CryptsetupError::Header { .. })),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn a_cut_header_says_where_it_ends() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let target = place.volume(format, &mine);
        let file = std::fs::File::options()
            .write(true)
            .open(target.device())
            .unwrap();
        for length in [4096, 591, 207, 100, 8] {
            file.set_len(length).unwrap();
            let cut = cryptsetup().test_passphrase(&call(), &target, &mine);
            let ok = match (&cut, format) {
                (
                    Err(CryptsetupError::Header {
                        source: HeaderError::Truncated { have, .. },
                        ..
                    }),
                    _,
                ) => *have == length,
                (
                    Err(CryptsetupError::Header {
                        source: HeaderError::Refused { .. },
                        ..
                    }),
                    EncryptionFormat::Luks2,
                ) => length > 207,
                (Err(CryptsetupError::BadParameters { .. }), EncryptionFormat::Luks1) => length == 4096,
                _ => false,
            };
            assert!(ok, "{format} cut to {length}: {cut:?}");
        }
        for (length, need) in [(7, 8), (6, 8)] {
            file.set_len(length).unwrap();
            let cut = cryptsetup().header(&call(), &target);
            assert!(
                matches!(cut, Err(CryptsetupError::Header { source: HeaderError::Truncated { need: n, .. }, .. }) if n == need)
            );
        }
        file.set_len(5).unwrap();
        assert!(matches!(
            cryptsetup().header(&call(), &target),
            Err(CryptsetupError::NotLuks { .. })
        ));
    }
}

#[test]
fn a_version_that_nobody_defined_is_refused() {
    let place = Place::new();
    let target = place.volume(EncryptionFormat::Luks1, &key());
    write(target.device(), 6, &[0, 3]);
    let refused = cryptsetup().header(&call(), &target);
    assert!(matches!(
        refused,
        Err(CryptsetupError::Header {
            source: HeaderError::Version(3),
            ..
        })
    ));
}

#[test]
fn luks2_metadata_that_is_broken_in_both_copies_is_refused() {
    let (place, mine) = (Place::new(), key());
    for damage in [&b"}"[..], b"[1,2]", b"\xff\xff\xff\xff", b"{\"keyslots\":{}}\0"] {
        let path = place.file(format!("{damage:?}"), 20 << 20);
        let target = Target::new(EncryptionFormat::Luks2, path).unwrap();
        let how = crate::place::fresh();
        cryptsetup()
            .format(
                &call(),
                &target,
                &how,
                &mine,
                strongroom_cryptsetup::Overwrite::Nothing,
            )
            .unwrap();
        for copy in [0, 16 << 10] {
            write(target.device(), copy + 4096, damage);
        }
        let refused = cryptsetup().test_passphrase(&call(), &target, &mine);
        assert!(
            matches!(
                &refused,
                Err(CryptsetupError::Header {
                    source: HeaderError::Refused { .. },
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}

/// cryptsetup by itself works on such a header until somebody kills it.
#[test]
fn an_iteration_bomb_costs_nothing() {
    let (place, mine) = (Place::new(), key());
    let target = place.volume(EncryptionFormat::Luks1, &mine);
    write(target.device(), 208 + 4, &[0xff; 4]);
    let begun = Instant::now();
    let late = call().with_timeout(Duration::from_secs(10));
    let refused = cryptsetup().test_passphrase(&late, &target, &mine);
    let iterations = u64::from(u32::MAX);
    assert!(
        matches!(refused, Err(CryptsetupError::Header { source: HeaderError::Costly { iterations: n, .. }, .. }) if n == iterations)
    );
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn keyslots_that_cost_too_much_only_together_cost_nothing() {
    let (place, mine) = (Place::new(), key());
    let target = place.volume(EncryptionFormat::Luks1, &mine);
    for slot in 0..8 {
        write(target.device(), 208 + slot * 48, &[0x00, 0xac, 0x71, 0xf3]);
        write(target.device(), 208 + slot * 48 + 4, &99_000_000u32.to_be_bytes());
    }
    let begun = Instant::now();
    let late = call().with_timeout(Duration::from_secs(10));
    let refused = cryptsetup().test_passphrase(&late, &target, &mine);
    assert!(
        matches!(
            &refused,
            Err(CryptsetupError::Header {
                source: HeaderError::Costly {
                    whose: "one try on every keyslot",
                    ..
                },
                ..
            })
        ),
        "{refused:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(1));
}
