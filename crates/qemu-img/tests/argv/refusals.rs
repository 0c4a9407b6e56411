//! What no builder makes a command of, whatever is on the disk.

use std::path::Path;

use strongroom_qemu_img::{
    Amend, Bitmap, BitmapName, Check, Commit, Convert, ConvertOptions, Create, Image, KeyDerivation, Layout,
    Location, LuksOptions, Map, NewImage, Preallocation, Qcow2Options, Rebase, Refusal, Repair, Resize,
    Snapshot, SnapshotName,
};
use strongroom_types::{ByteSize, DeviceSize};

use crate::{bytes, key, refused, shown, size};

#[test]
fn paths_that_cannot_be() {
    assert_eq!(refused(&Map::of(&Image::raw(""))), Refusal::EmptyPath);
    assert!(matches!(
        refused(&Map::of(&Image::raw(bytes(b"/a\0b")))),
        Refusal::NulInPath { .. }
    ));
    let empty = NewImage::new("", Layout::raw());
    assert_eq!(refused(&Create::sized(&empty, size(1))), Refusal::EmptyPath);
}

#[test]
fn a_base_whose_name_no_header_holds() {
    let long = Path::new("/").join("n".repeat(1023));
    let overlay =
        |path: &Path| NewImage::new("/o", Layout::qcow2(Qcow2Options::new())).backed_by(&Image::raw(path));
    let refusal = refused(&Create::like_base(&overlay(&long)));
    assert!(
        matches!(refusal, Refusal::LongBackingName { bytes: 1024, .. }),
        "{refusal:?}"
    );
    let longest = Path::new("/").join("n".repeat(1022));
    assert!(shown(&Create::like_base(&overlay(&longest))).contains("nnn"));
}

#[test]
fn an_encrypted_new_base_whose_name_is_not_utf8() {
    let key = key();
    let overlay = Image::qcow2_luks("/o", &key).backed_by(Image::raw("/base"));
    let refusal = refused(&Rebase::onto(&overlay, &Image::luks(bytes(b"/\xff"), &key)));
    assert!(matches!(refusal, Refusal::NotUtf8 { .. }), "{refusal:?}");
}

#[test]
fn flags_for_what_they_cannot_say() {
    let overlay = Image::qcow2("/o").by_flags().backed_by(Image::raw("/base"));
    assert!(matches!(
        refused(&Map::of(&overlay)),
        Refusal::FlagsCannotSay { .. }
    ));
    let shared = Image::qcow2("/o").by_flags().shared();
    assert!(matches!(
        refused(&Map::of(&shared)),
        Refusal::FlagsCannotSay { .. }
    ));
    let beginning = Image::raw(Location::beginning("/dev/vg/lv", DeviceSize::new(512).unwrap())).by_flags();
    assert!(matches!(refused(&Map::of(&beginning)), Refusal::Beginning { .. }));
}

#[test]
fn what_only_qcow2_has() {
    let key = key();
    let luks = Image::luks("/a", &key);
    let name = SnapshotName::new("s").unwrap();
    let bitmap = BitmapName::new("b").unwrap();
    let of_snapshot = Convert::new(&luks, &luks).snapshot(&name);
    for refusal in [
        refused(&Snapshot::create(&luks, &name)),
        refused(&Bitmap::add(&Image::raw("/a"), &bitmap)),
        refused(&of_snapshot),
        refused(&Map::of(&luks.clone().backed_by(Image::raw("/base")))),
        refused(&Commit::of(&luks)),
        refused(&Rebase::flatten(&luks)),
        refused(&Create::like_base(
            &NewImage::new("/o", Layout::raw()).backed_by(&Image::raw("/base")),
        )),
    ] {
        assert!(matches!(refusal, Refusal::NotQcow2 { .. }), "{refusal:?}");
    }
}

#[test]
fn shared_images_are_not_written() {
    let key = key();
    let shared = Image::qcow2_luks("/a", &key).shared();
    let name = SnapshotName::new("s").unwrap();
    let base = Image::qcow2_luks("/base", &key);
    for refusal in [
        refused(&Resize::grow(&shared, size(1))),
        refused(&Snapshot::delete(&shared, &name)),
        refused(&Bitmap::clear(&shared, &BitmapName::new("b").unwrap())),
        refused(&Amend::remove_slot(&shared, 1)),
        refused(&Check::of(&shared).repair(Repair::Leaks)),
        refused(&Convert::new(&base, &shared)),
        refused(&Commit::of(&base.clone().backed_by(shared.clone()))),
        refused(&Rebase::rename(&shared, &base)),
    ] {
        assert!(matches!(refusal, Refusal::SharedForWriting { .. }), "{refusal:?}");
    }
}

#[test]
fn encrypted_content_into_plain_files() {
    let key = key();
    let encrypted = Image::qcow2_luks("/e", &key);
    let plain = Image::qcow2("/p");
    for refusal in [
        refused(&Commit::of(&encrypted.clone().backed_by(plain.clone()))),
        refused(&Rebase::flatten(&plain.clone().backed_by(encrypted.clone()))),
        refused(&Rebase::onto(
            &plain.clone().backed_by(Image::raw("/r")),
            &encrypted,
        )),
        refused(&Rebase::rename(&plain, &encrypted)),
        // What is committed is plain; what fills up its clusters comes from below.
        refused(&Commit::of(
            &Image::qcow2("/o").backed_by(plain.clone().backed_by(encrypted.clone())),
        )),
    ] {
        assert!(matches!(refusal, Refusal::Plaintext { .. }), "{refusal:?}");
    }
}

#[test]
fn zeros_that_are_not_there() {
    let key = key();
    let options = ConvertOptions::fast().target_is_zero();
    let onto_luks = Convert::new(&Image::raw("/a"), Image::luks("/b", &key)).options(options);
    assert!(matches!(refused(&onto_luks), Refusal::NotZero { .. }));
    let onto_new = Convert::new(&Image::raw("/a"), NewImage::new("/b", Layout::raw())).options(options);
    assert!(matches!(refused(&onto_new), Refusal::NotZero { .. }));
}

#[test]
fn copies_stand_alone_and_zeros_follow_only_when_asked() {
    let overlay = NewImage::new("/o", Layout::qcow2(Qcow2Options::new())).backed_by(&Image::raw("/base"));
    assert!(matches!(
        refused(&Convert::new(&Image::raw("/a"), overlay)),
        Refusal::CopyWithBase { .. }
    ));
    let none = Convert::new(&Image::raw("/a"), Image::raw("/b")).then_zeros(ByteSize::bytes(0));
    assert!(!shown(&none).contains("null-co"));
}

#[test]
fn incomplete_descriptions() {
    let key = key();
    let alone = Image::qcow2_luks("/a", &key);
    assert!(matches!(refused(&Commit::of(&alone)), Refusal::NoBase { .. }));
    assert!(matches!(
        refused(&Rebase::flatten(&alone)),
        Refusal::NoBase { .. }
    ));
    assert!(matches!(
        refused(&Rebase::onto(&alone, &alone)),
        Refusal::NoBase { .. }
    ));
    let sizeless = NewImage::new("/a", Layout::raw());
    assert!(matches!(
        refused(&Create::like_base(&sizeless)),
        Refusal::NoSize { .. }
    ));
}

#[test]
fn values_out_of_range() {
    let key = key();
    let luks = Image::luks("/a", &key);
    assert_eq!(
        refused(&Amend::remove_slot(&luks, 8)),
        Refusal::NoSuchSlot { slot: 8 }
    );
    let add = Amend::add_key_in_slot(&luks, &key, KeyDerivation::Fast, 255);
    assert_eq!(refused(&add), Refusal::NoSuchSlot { slot: 255 });
    for granularity in [0, 256, 1000] {
        let add = Bitmap::add_granular(&Image::qcow2("/a"), &BitmapName::new("b").unwrap(), granularity);
        assert!(matches!(refused(&add), Refusal::Option { .. }), "{granularity}");
    }
    let metadata = Preallocation::Metadata;
    let luks = NewImage::new(
        "/a",
        Layout::luks(&key, LuksOptions::default()).preallocation(metadata),
    );
    let raw = NewImage::new("/a", Layout::raw().preallocation(metadata));
    for refusal in [
        refused(&Create::sized(&luks, size(1))),
        refused(&Create::sized(&raw, size(1))),
    ] {
        assert!(
            matches!(
                refusal,
                Refusal::Option {
                    option: "preallocation",
                    ..
                }
            ),
            "{refusal:?}"
        );
    }
}

#[test]
fn refusals_say_what_and_where() {
    let key = key();
    let refusal = refused(&Commit::of(
        &Image::qcow2_luks("/e", &key).backed_by(Image::qcow2("/p")),
    ));
    assert_eq!(
        refusal.to_string(),
        r#"the content of "/e" is encrypted and would be written to "/p" in clear"#
    );
    let refusal = Refusal::NotRaw {
        path: "/r".into(),
        format: "qcow2",
    };
    assert_eq!(
        refusal.to_string(),
        r#""/r" is described as raw and begins with a qcow2 header; describe it as qcow2, or as opaque when a guest made it"#
    );
}
