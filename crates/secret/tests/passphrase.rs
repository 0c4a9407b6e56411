//! What a passphrase is, and what none is.

#![expect(clippy::unwrap_used, reason = "a panic is how a test says no")]

use std::collections::HashSet;

use proptest::prelude::*;
use strongroom_secret::{Origin, Passphrase, PassphraseError};
use zeroize::Zeroizing;

fn import(bytes: &[u8]) -> Result<Passphrase, PassphraseError> {
    Passphrase::import(Zeroizing::new(bytes.to_vec()))
}

#[track_caller]
fn refused(bytes: &[u8], because: &PassphraseError, message: &str) {
    let error = import(bytes).unwrap_err();
    assert_eq!(&error, because);
    assert_eq!(error.to_string(), message);
}

#[test]
fn empty_short_and_long_ones_are_refused() {
    refused(b"", &PassphraseError::Empty, "the passphrase is empty");
    refused(
        b"1234567",
        &PassphraseError::Short(7),
        "the passphrase has 7 bytes, at least 8 are needed",
    );
    refused(
        &[b'a'; 513],
        &PassphraseError::Long,
        "the passphrase has more than 512 bytes",
    );
    assert_eq!(import(&[b'a'; 8]).unwrap().expose_secret(), [b'a'; 8]);
    assert_eq!(import(&[b'a'; 512]).unwrap().expose_secret(), [b'a'; 512]);
}

#[test]
fn what_is_not_utf8_is_refused() {
    let not_utf8: [&[u8]; 4] = [
        b"abcd\xffefgh",
        b"abcd\xc0\x80efgh",
        b"abcd\xed\xa0\x80efgh",
        b"abcdefgh\xe2\x82",
    ];
    for (bytes, position) in not_utf8.into_iter().zip([4, 4, 4, 8]) {
        refused(
            bytes,
            &PassphraseError::NotUtf8(position),
            &format!("the passphrase is not valid UTF-8 at byte {position}"),
        );
    }
    let text = "Schlüssel für ßß 🔑";
    assert_eq!(import(text.as_bytes()).unwrap().expose_secret(), text.as_bytes());
}

#[test]
fn bytes_at_which_a_tool_stops_reading_are_refused_wherever_they_are() {
    for (byte, name) in [(0, "NUL"), (b'\n', "newline"), (b'\r', "carriage return")] {
        for position in [0, 5, 11] {
            let mut bytes = *b"twelve bytes";
            bytes[position] = byte;
            refused(
                &bytes,
                &PassphraseError::Delimiter(position, name),
                &format!("the passphrase has a {name} at byte {position}, at which some tools stop reading"),
            );
        }
    }
    // A file made by an editor ends like this.
    refused(
        b"twelve bytes\n",
        &PassphraseError::Delimiter(12, "newline"),
        "the passphrase has a newline at byte 12, at which some tools stop reading",
    );
}

#[test]
fn the_origin_is_kept() {
    let bytes = || Zeroizing::new(b"12345678".to_vec());
    assert_eq!(Passphrase::generate().unwrap().origin(), Origin::Generated);
    assert_eq!(Passphrase::import(bytes()).unwrap().origin(), Origin::Imported);
    let restored = Passphrase::restore(bytes(), Origin::Generated).unwrap();
    assert_eq!(restored.origin(), Origin::Generated);
    assert_eq!(restored.expose_secret(), b"12345678");
}

#[test]
fn debug_is_the_same_for_all() {
    let two = [Passphrase::generate().unwrap(), import(b"another one").unwrap()];
    for passphrase in &two {
        assert_eq!(format!("{passphrase:?}"), "Passphrase(..)");
        assert_eq!(format!("{passphrase:#?}"), "Passphrase(..)");
    }
}

#[test]
fn generated_ones_are_64_hexadecimal_digits_and_all_differ() {
    let mut seen = HashSet::new();
    for _ in 0..10_000 {
        let passphrase = Passphrase::generate().unwrap();
        let text = passphrase.expose_secret();
        assert_eq!(text.len(), 64);
        assert!(text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        assert!(seen.insert(text.to_vec()));
    }
}

/// The χ² statistic of 16 digits has 15 degrees of freedom. A fair source exceeds 84 with a probability of 1 in 10¹¹ at each of
/// the 64 places; a source that is short of one bit anywhere exceeds it by thousands.
#[test]
fn each_digit_is_as_frequent_as_any_other_at_each_place() {
    const ROUNDS: u32 = 8_000;
    let mut counts = [[0u32; 16]; 64];
    for _ in 0..ROUNDS {
        let passphrase = Passphrase::generate().unwrap();
        for (place, digit) in counts.iter_mut().zip(passphrase.expose_secret()) {
            place[char::from(*digit).to_digit(16).unwrap() as usize] += 1;
        }
    }
    let expected = f64::from(ROUNDS) / 16.0;
    for (number, place) in counts.iter().enumerate() {
        let statistic: f64 = place
            .iter()
            .map(|n| (f64::from(*n) - expected).powi(2) / expected)
            .sum();
        assert!(statistic < 84.0, "χ² = {statistic} at place {number}");
    }
}

/// The rule, said once more and otherwise.
fn is_one(bytes: &[u8]) -> bool {
    let printable_by_all = |text: &str| !text.contains(['\0', '\n', '\r']);
    (8..=512).contains(&bytes.len()) && String::from_utf8(bytes.to_vec()).is_ok_and(|t| printable_by_all(&t))
}

proptest! {
    #[test]
    fn any_bytes_are_taken_unchanged_or_refused_by_the_rule(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..600),
            ".{0,140}".prop_map(String::into_bytes),
            "[a-z\r\n\0]{6,20}".prop_map(String::into_bytes),
        ],
    ) {
        match import(&bytes) {
            Ok(passphrase) => {
                prop_assert!(is_one(&bytes));
                prop_assert_eq!(passphrase.expose_secret(), bytes);
            }
            Err(_) => prop_assert!(!is_one(&bytes)),
        }
    }

    #[test]
    fn no_error_shows_what_was_refused(secret in "[g-z]{12}", at in 0usize..12, bad in prop::sample::select(vec![0u8, b'\r', b'\n', 0xff])) {
        let mut bytes = secret.clone().into_bytes();
        bytes[at] = bad;
        let error = import(&bytes).unwrap_err();
        let shown = format!("{error} {error:?}");
        for piece in bytes.split(|b| *b == bad).filter(|piece| piece.len() > 5) {
            prop_assert!(!shown.contains(std::str::from_utf8(piece).unwrap()), "{}", shown);
        }
    }
}
