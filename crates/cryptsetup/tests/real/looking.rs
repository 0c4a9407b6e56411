use strongroom_cryptsetup::{CryptsetupError, Kdf};
use strongroom_types::EncryptionFormat;

use crate::place::{Place, call, cryptsetup, key, tool};

/// The fields of `cryptsetup luksDump` of a LUKS1 header, by name.
fn dump(path: &std::path::Path) -> Vec<(String, String)> {
    let done = tool("cryptsetup", "cryptsetup-bin", &["luksDump".as_ref(), path]);
    let text = String::from_utf8(done.stdout).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

#[test]
fn our_reading_of_luks1_agrees_with_luks_dump() {
    let (place, mine) = (Place::new(), key());
    let target = place.volume(EncryptionFormat::Luks1, &mine);
    let tool = cryptsetup();
    tool.add_key(
        &call(),
        &target,
        &mine,
        &key(),
        strongroom_cryptsetup::Pbkdf::pbkdf2(4321).unwrap(),
        strongroom_cryptsetup::Precaution::Waived,
    )
    .unwrap();
    let ours = tool.header(&call(), &target).unwrap();
    let theirs = dump(target.device());
    let field = |name: &str| {
        theirs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
            .unwrap()
    };
    assert_eq!(ours.uuid.to_string(), field("UUID"));
    assert_eq!(
        ours.cipher,
        format!("{}-{}", field("Cipher name"), field("Cipher mode"))
    );
    assert_eq!(ours.key_bits, field("MK bits").parse().ok());
    assert_eq!(
        ours.payload_offset.get(),
        field("Payload offset").parse::<u64>().unwrap() * 512
    );
    for slot in 0..8u8 {
        let enabled = field(&format!("Key Slot {slot}")) == "ENABLED";
        assert_eq!(ours.keyslots.contains_key(&slot), enabled, "{slot}");
    }
    let iterations: Vec<_> = theirs
        .iter()
        .filter(|(n, _)| n == "Iterations")
        .map(|(_, v)| v.clone())
        .collect();
    let kdfs: Vec<_> = ours
        .keyslots
        .values()
        .map(|slot| match &slot.kdf {
            Kdf::Pbkdf2 { hash, iterations } => {
                assert_eq!(*hash, field("Hash spec"));
                iterations.to_string()
            }
            other => panic!("LUKS1 has PBKDF2 only, found {other:?}"),
        })
        .collect();
    assert_eq!(kdfs, iterations);
}

#[test]
fn the_version_is_that_of_the_tool() {
    let done = tool("cryptsetup", "cryptsetup-bin", &["--version".as_ref()]);
    let version = cryptsetup().version(&call()).unwrap();
    assert!(
        String::from_utf8(done.stdout)
            .unwrap()
            .starts_with(&format!("cryptsetup {version} "))
    );
    assert!(
        version
            .split('.')
            .all(|part| part.parse::<u32>().is_ok_and(|n| n < 1000)),
        "{version}"
    );
}

#[test]
fn a_blank_device_is_no_volume() {
    let place = Place::new();
    for format in crate::place::BOTH {
        let target = place.blank(format);
        let tool = cryptsetup();
        let is_none =
            |e: CryptsetupError| matches!(e, CryptsetupError::NotLuks { path } if path == target.device());
        assert!(!tool.is_luks(&call(), &target).unwrap());
        assert!(is_none(tool.header(&call(), &target).unwrap_err()));
        assert!(is_none(tool.uuid(&call(), &target).unwrap_err()));
        assert!(is_none(
            tool.test_passphrase(&call(), &target, &key()).unwrap_err()
        ));
        assert!(is_none(
            tool.back_up_header(&call(), &target, place.path("b"))
                .unwrap_err()
        ));
        assert!(!place.path("b").exists());
    }
}

#[test]
fn a_missing_tool_is_named_with_its_package() {
    let missing = strongroom_exec::Program::find("no-such-cryptsetup").unwrap_err();
    let error = CryptsetupError::MissingTool(missing);
    assert!(error.to_string().contains("cryptsetup-bin"), "{error}");
}
