//! A LUKS2 header is there twice, and one of the two may be lost, damaged or old.

use std::os::unix::fs::FileExt;
use std::path::Path;

use strongroom_cryptsetup::{CryptsetupError, RestoreOnto, Target, Uuid};
use strongroom_types::EncryptionFormat;

use crate::place::{Place, call, cryptsetup, fresh, key, tool, write};

const SECOND: u64 = 16 << 10;

fn first_header(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; 16 << 10];
    std::fs::File::open(path)
        .unwrap()
        .read_exact_at(&mut bytes, 0)
        .unwrap();
    bytes
}

/// What the tool says, on a copy, so that it repairs nothing of ours.
fn uuid_by_the_tool(place: &Place, path: &Path) -> Uuid {
    let copy = place.path("a copy");
    std::fs::copy(path, &copy).unwrap();
    let done = tool("cryptsetup", "cryptsetup-bin", &["luksUUID".as_ref(), &copy]);
    std::fs::remove_file(&copy).unwrap();
    String::from_utf8(done.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn a_volume_whose_first_header_is_lost_does_all_that_others_do() {
    let (place, mine) = (Place::new(), key());
    let target = place.volume(EncryptionFormat::Luks2, &mine);
    let tool = cryptsetup();
    let volume = tool.uuid(&call(), &target).unwrap();
    let lose = || write(target.device(), 0, &[0; 4096]);
    lose();
    assert_eq!(tool.header(&call(), &target).unwrap().uuid, volume);
    lose();
    tool.test_passphrase(&call(), &target, &mine).unwrap();
    lose();
    assert_eq!(tool.uuid(&call(), &target).unwrap(), volume);
    lose();
    tool.back_up_header(&call(), &target, place.path("backup"))
        .unwrap();
    lose();
    let other = tool.erase(&call(), &target, Uuid::new_v4());
    assert!(matches!(other, Err(CryptsetupError::WrongVolume { found, .. }) if found == volume));
    lose();
    tool.erase(&call(), &target, volume).unwrap();
    let opened = tool.test_passphrase(&call(), &target, &mine);
    assert!(
        matches!(opened, Err(CryptsetupError::NoKeyslot { .. })),
        "{opened:?}"
    );
}

#[test]
fn a_second_header_that_is_damaged_too_is_none() {
    let (place, mine) = (Place::new(), key());
    let target = place.volume(EncryptionFormat::Luks2, &mine);
    write(target.device(), 0, &[0; 4096]);
    write(target.device(), SECOND + 170, b"f-");
    let none = cryptsetup().header(&call(), &target);
    assert!(matches!(none, Err(CryptsetupError::NotLuks { .. })), "{none:?}");
}

#[test]
fn the_first_header_is_not_believed_when_its_checksum_is_wrong() {
    let (place, mine) = (Place::new(), key());
    let target = place.volume(EncryptionFormat::Luks2, &mine);
    let tool = cryptsetup();
    let volume = tool.uuid(&call(), &target).unwrap();
    let lie = || write(target.device(), 168, Uuid::nil().to_string().as_bytes());
    lie();
    assert_eq!(tool.header(&call(), &target).unwrap().uuid, volume);
    lie();
    let erased = tool.erase(&call(), &target, Uuid::nil());
    assert!(matches!(erased, Err(CryptsetupError::WrongVolume { found, .. }) if found == volume));
    tool.test_passphrase(&call(), &target, &mine).unwrap();
}

/// As after a power cut between the two writes of a change, and with another volume's header in the place of the first.
#[test]
fn of_two_whole_headers_the_one_that_was_written_later_counts() {
    let (place, mine) = (Place::new(), key());
    let (target, tool_) = (place.volume(EncryptionFormat::Luks2, &mine), cryptsetup());
    let volume = tool_.uuid(&call(), &target).unwrap();
    let other = Target::new(EncryptionFormat::Luks2, place.file("other", 20 << 20)).unwrap();
    let another = fresh();
    tool_
        .format(
            &call(),
            &other,
            &another,
            &mine,
            strongroom_cryptsetup::Overwrite::Nothing,
        )
        .unwrap();
    let backup = tool_
        .back_up_header(&call(), &target, place.path("backup"))
        .unwrap();
    // One more write than the other volume has seen.
    let name = ["config", "--label", "later"].map(Path::new);
    let named = tool(
        "cryptsetup",
        "cryptsetup-bin",
        &[&name[..], &[target.device()]].concat(),
    );
    assert_eq!(named.code, 0, "{}", named.message());
    let theirs = first_header(other.device());
    write(target.device(), 0, &theirs);
    assert_eq!(uuid_by_the_tool(&place, target.device()), volume);
    let header = tool_.header(&call(), &target).unwrap();
    assert_eq!((header.uuid, header.label.as_deref()), (volume, Some("later")));
    write(target.device(), 0, &theirs);
    tool_
        .restore_header(&call(), &backup, &target, &mine, RestoreOnto::SameVolume)
        .unwrap();
    tool_.test_passphrase(&call(), &target, &mine).unwrap();
}
