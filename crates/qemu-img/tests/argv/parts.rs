use expect_test::expect;
use strongroom_qemu_img::{
    Convert, Declassify, Encrypted, Image, Layout, Load, Memory, NewImage, Plain, Qcow2Options, Refusal,
    Store,
};

use crate::{key, pin, refused};

#[test]
fn a_part_of_a_copy_is_at_the_same_place_on_both_sides() {
    let (from, to) = (key(), key());
    let base = Image::raw("/t/base");
    let source = Image::qcow2_luks("/d/from", &from).backed_by(base);
    let target = Image::luks("/d/to", &to);
    pin(
        &Convert::new(&source, &target).part(1 << 20, 512),
        expect![[r#"
            convert
            --object secret,id=sec0,file=/proc/self/fd/900
            --object secret,id=sec1,file=/proc/self/fd/901
            -p
            -t writeback
            --image-opts
            -n
            --target-image-opts
            --
            driver=raw,offset=1048576,size=512,file.driver=qcow2,file.file.driver=file,file.file.filename=/d/from,file.encrypt.format=luks,file.encrypt.key-secret=sec0,file.backing.driver=raw,file.backing.file.driver=file,file.backing.file.filename=/t/base
            driver=raw,offset=1048576,size=512,file.driver=luks,file.file.driver=file,file.file.filename=/d/to,file.key-secret=sec1
        "#]],
    );
}

#[test]
fn content_goes_to_memory_and_back_without_a_name() {
    let key = key();
    let image = Image::luks("/d/disk", &key);
    let memory: Memory<Encrypted> = Memory::zeros(1024).unwrap();
    pin(
        &Load::new(&image, 4096, &memory),
        expect![[r#"
            convert
            --object secret,id=sec0,file=/proc/self/fd/901
            -n
            --target-is-zero
            -m 4
            -W
            --image-opts
            --target-image-opts
            --
            driver=raw,offset=4096,size=1024,file.driver=luks,file.file.driver=file,file.file.filename=/d/disk,file.key-secret=sec0
            driver=raw,file.driver=file,file.filename=/proc/self/fd/900
        "#]],
    );
    pin(
        &Store::new(&memory, &image, 512),
        expect![[r#"
            convert
            --object secret,id=sec0,file=/proc/self/fd/901
            -n
            -t writeback
            -m 4
            -W
            --image-opts
            --target-image-opts
            --
            driver=raw,file.driver=file,file.filename=/proc/self/fd/900
            driver=raw,offset=512,size=1024,file.driver=luks,file.file.driver=file,file.file.filename=/d/disk,file.key-secret=sec0
        "#]],
    );
    let leave = Declassify::because("a test").unwrap();
    let store = Store::declassifying(&memory, &Image::raw("/d/plain"), 0, leave);
    assert_eq!(store.declassification().map(Declassify::reason), Some("a test"));
}

#[test]
fn what_has_no_parts() {
    let source = Image::raw("/d/from");
    let new = NewImage::new("/d/new", Layout::qcow2(Qcow2Options::new()));
    assert!(matches!(
        refused(&Convert::new(&source, &new).part(0, 512)),
        Refusal::PartOfNew { .. }
    ));
    let flags = Image::raw("/d/from").by_flags();
    let target = Image::raw("/d/to");
    assert!(matches!(
        refused(&Convert::new(&flags, &target).part(0, 512)),
        Refusal::FlagsCannotSay { .. }
    ));
    let memory: Memory<Plain> = Memory::zeros(512).unwrap();
    for refusal in [
        refused(&Load::new(&flags, 0, &memory)),
        refused(&Store::new(&memory, &flags, 0)),
    ] {
        assert!(matches!(refusal, Refusal::FlagsCannotSay { .. }), "{refusal}");
    }
    assert!(matches!(
        refused(&Store::new(&memory, &target.shared(), 0)),
        Refusal::SharedForWriting { .. }
    ));
}
