use expect_test::expect;
use strongroom_qemu_img::{
    Amend, Bitmap, BitmapName, Check, Image, KeyDerivation, Repair, Snapshot, SnapshotName,
};

use crate::{key, pin};

#[test]
fn checking() {
    let key = key();
    pin(
        &Check::of(&Image::qcow2("/a").by_flags()),
        expect![[r#"
        check
        --output=json
        -f qcow2
        --
        /a
    "#]],
    );
    pin(
        &Check::of(&Image::qcow2_luks("/a", &key)).repair(Repair::Leaks),
        expect![[r#"
            check
            --object secret,id=sec0,file=/proc/self/fd/900
            --output=json
            -r leaks
            --image-opts
            --
            driver=qcow2,file.driver=file,file.filename=/a,encrypt.format=luks,encrypt.key-secret=sec0,backing=
        "#]],
    );
    pin(
        &Check::of(&Image::qcow2("/a")).repair(Repair::All),
        expect![[r#"
        check
        --output=json
        -r all
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/a,backing=
    "#]],
    );
}

#[test]
fn snapshots() {
    let key = key();
    let name = SnapshotName::new("-x,y").unwrap();
    pin(
        &Snapshot::create(&Image::qcow2_luks("/a", &key), &name),
        expect![[r#"
            snapshot
            --object secret,id=sec0,file=/proc/self/fd/900
            -q
            -c
            -x,y
            --image-opts
            --
            driver=qcow2,file.driver=file,file.filename=/a,encrypt.format=luks,encrypt.key-secret=sec0,backing=
        "#]],
    );
    pin(
        &Snapshot::apply(&Image::qcow2("/a").by_flags(), &name),
        expect![[r#"
            snapshot
            -q
            -a
            -x,y
            -f qcow2
            --
            /a
        "#]],
    );
    pin(
        &Snapshot::delete(&Image::qcow2("/a"), &name),
        expect![[r#"
        snapshot
        -q
        -d
        -x,y
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/a,backing=
    "#]],
    );
}

#[test]
fn keys_of_qcow2_and_of_raw_luks() {
    let (old, new) = (key(), key());
    let qcow2 = Image::qcow2_luks("/a", &old);
    pin(
        &Amend::add_key(&qcow2, &new, KeyDerivation::Fast),
        expect![[r#"
        amend
        --object secret,id=sec0,file=/proc/self/fd/900
        --object secret,id=sec1,file=/proc/self/fd/901
        -q
        --image-opts
        -o encrypt.state=active,encrypt.new-secret=sec1,encrypt.iter-time=10
        --
        driver=qcow2,file.driver=file,file.filename=/a,encrypt.format=luks,encrypt.key-secret=sec0,backing=
    "#]],
    );
    pin(
        &Amend::remove_key(&qcow2, &new),
        expect![[r#"
        amend
        --object secret,id=sec0,file=/proc/self/fd/900
        --object secret,id=sec1,file=/proc/self/fd/901
        -q
        --image-opts
        -o encrypt.state=inactive,encrypt.old-secret=sec1
        --
        driver=qcow2,file.driver=file,file.filename=/a,encrypt.format=luks,encrypt.key-secret=sec0,backing=
    "#]],
    );
    let luks = Image::luks("/a", &old);
    pin(
        &Amend::add_key_in_slot(&luks, &new, KeyDerivation::ToolDefault, 3),
        expect![[r#"
            amend
            --object secret,id=sec0,file=/proc/self/fd/900
            --object secret,id=sec1,file=/proc/self/fd/901
            -q
            --image-opts
            -o state=active,new-secret=sec1,keyslot=3
            --
            driver=luks,file.driver=file,file.filename=/a,key-secret=sec0
        "#]],
    );
    pin(
        &Amend::remove_slot(&luks, 3),
        expect![[r#"
        amend
        --object secret,id=sec0,file=/proc/self/fd/900
        -q
        --image-opts
        -o state=inactive,keyslot=3
        --
        driver=luks,file.driver=file,file.filename=/a,key-secret=sec0
    "#]],
    );
    pin(
        &Amend::destroy_slot(&luks, 0),
        expect![[r#"
        amend
        --object secret,id=sec0,file=/proc/self/fd/900
        -q
        --image-opts
        --force
        -o state=inactive,keyslot=0
        --
        driver=luks,file.driver=file,file.filename=/a,key-secret=sec0
    "#]],
    );
}

#[test]
fn bitmaps() {
    let key = key();
    let image = Image::qcow2_luks("/a", &key);
    let (name, other) = (BitmapName::new("-b").unwrap(), BitmapName::new("other").unwrap());
    pin(
        &Bitmap::add(&image, &name),
        expect![[r#"
        bitmap
        --object secret,id=sec0,file=/proc/self/fd/900
        --add
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/a,encrypt.format=luks,encrypt.key-secret=sec0,backing=
        -b
    "#]],
    );
    pin(
        &Bitmap::add_granular(&Image::qcow2("/a").by_flags(), &name, 65536),
        expect![[r#"
            bitmap
            --add
            -g 65536
            -f qcow2
            --
            /a
            -b
        "#]],
    );
    pin(
        &Bitmap::remove(&image, &name),
        expect![[r#"
        bitmap
        --object secret,id=sec0,file=/proc/self/fd/900
        --remove
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/a,encrypt.format=luks,encrypt.key-secret=sec0,backing=
        -b
    "#]],
    );
    pin(
        &Bitmap::clear(&image, &name),
        expect![[r#"
        bitmap
        --object secret,id=sec0,file=/proc/self/fd/900
        --clear
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/a,encrypt.format=luks,encrypt.key-secret=sec0,backing=
        -b
    "#]],
    );
    pin(
        &Bitmap::enable(&image, &name),
        expect![[r#"
        bitmap
        --object secret,id=sec0,file=/proc/self/fd/900
        --enable
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/a,encrypt.format=luks,encrypt.key-secret=sec0,backing=
        -b
    "#]],
    );
    pin(
        &Bitmap::disable(&image, &name),
        expect![[r#"
        bitmap
        --object secret,id=sec0,file=/proc/self/fd/900
        --disable
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/a,encrypt.format=luks,encrypt.key-secret=sec0,backing=
        -b
    "#]],
    );
    pin(
        &Bitmap::merge(&image, &other, &name),
        expect![[r#"
        bitmap
        --object secret,id=sec0,file=/proc/self/fd/900
        --merge other
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/a,encrypt.format=luks,encrypt.key-secret=sec0,backing=
        -b
    "#]],
    );
}
