use std::num::NonZeroU8;

use expect_test::expect;
use strongroom_qemu_img::{
    Compare, Convert, ConvertOptions, Declassify, Image, KeyDerivation, Layout, Location, LuksOptions,
    NewImage, Preallocation, Qcow2Options, Resize, SnapshotName, TargetCache,
};
use strongroom_types::ByteSize;

use crate::{bytes, key, pin, size};

#[test]
fn copies_onto_images_that_are_there() {
    let (from, to) = (key(), key());
    let template = Image::qcow2("/t/template");
    let device = Image::luks(Location::block("/dev/vg/lv"), &to);
    pin(
        &Convert::new(&template, &device).options(ConvertOptions::fast()),
        expect![[r#"
            convert
            --object secret,id=sec0,file=/proc/self/fd/900
            -p
            -t none
            -m 16
            -W
            --image-opts
            -n
            --target-image-opts
            --
            driver=qcow2,file.driver=file,file.filename=/t/template,backing=
            driver=luks,file.driver=host_device,file.filename=/dev/vg/lv,key-secret=sec0
        "#]],
    );
    let encrypted = Image::qcow2_luks("/d/from", &from);
    pin(
        &Convert::new(&encrypted, &device),
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
        driver=qcow2,file.driver=file,file.filename=/d/from,encrypt.format=luks,encrypt.key-secret=sec0,backing=
        driver=luks,file.driver=host_device,file.filename=/dev/vg/lv,key-secret=sec1
    "#]],
    );
    pin(
        &Convert::new(&template.clone().by_flags(), Image::raw("/d/to").by_flags()),
        expect![[r#"
            convert
            -p
            -t writeback
            -f qcow2
            -n
            -O raw
            --
            /t/template
            /d/to
        "#]],
    );
    pin(
        &Convert::new(&template.by_flags(), Image::qcow2_luks("/d/to", &to)),
        expect![[r#"
            convert
            --object secret,id=sec0,file=/proc/self/fd/900
            -p
            -t writeback
            -f qcow2
            -n
            --target-image-opts
            --
            /t/template
            driver=qcow2,file.driver=file,file.filename=/d/to,encrypt.format=luks,encrypt.key-secret=sec0,backing=
        "#]],
    );
}

#[test]
fn copies_that_make_their_target() {
    let (from, to) = (key(), key());
    let encrypted = Image::luks("/d/from", &from);
    let layout = Layout::qcow2_luks(&to, Qcow2Options::new(), LuksOptions::new(KeyDerivation::Fast));
    pin(
        &Convert::new(&encrypted, NewImage::new("/d/to", layout)),
        expect![[r#"
            convert
            --object secret,id=sec0,file=/proc/self/fd/900
            --object secret,id=sec1,file=/proc/self/fd/901
            -p
            -t writeback
            --image-opts
            -O qcow2
            -o compat=1.1,encrypt.format=luks,encrypt.key-secret=sec1,encrypt.cipher-alg=aes-256,encrypt.cipher-mode=xts,encrypt.ivgen-alg=plain64,encrypt.hash-alg=sha256,encrypt.iter-time=10
            --
            driver=luks,file.driver=file,file.filename=/d/from,key-secret=sec0
            /d/to
        "#]],
    );
    let plain = NewImage::new("/d/to", Layout::qcow2(Qcow2Options::new()));
    let leave = Declassify::because("export").unwrap();
    pin(
        &Convert::declassifying(&encrypted, &plain, leave),
        expect![[r#"
        convert
        --object secret,id=sec0,file=/proc/self/fd/900
        -p
        -t writeback
        --image-opts
        -O qcow2
        -o compat=1.1
        --
        driver=luks,file.driver=file,file.filename=/d/from,key-secret=sec0
        /d/to
    "#]],
    );
    pin(
        &Convert::new(&Image::raw("/d/from").by_flags(), &plain),
        expect![[r#"
            convert
            -p
            -t writeback
            -f raw
            -O qcow2
            -o compat=1.1
            --
            /d/from
            /d/to
        "#]],
    );
}

#[test]
fn options_of_a_copy() {
    let to = key();
    let options = ConvertOptions::new()
        .cache(TargetCache::Direct)
        .parallel(NonZeroU8::MIN)
        .out_of_order(true)
        .rate(ByteSize::mib(1))
        .target_is_zero();
    let copy = Convert::new(&Image::qcow2("/d/from").shared(), Image::qcow2_luks("/d/to", &to))
        .snapshot(&SnapshotName::new("a,b=c").unwrap())
        .options(options);
    pin(
        &copy,
        expect![[r#"
        convert
        --object secret,id=sec0,file=/proc/self/fd/900
        -p
        -t none
        -m 1
        -W
        -r 1048576
        --target-is-zero
        -l snapshot.name=a,,b=c
        --image-opts
        -n
        --target-image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/d/from,backing=,force-share=on
        driver=qcow2,file.driver=file,file.filename=/d/to,encrypt.format=luks,encrypt.key-secret=sec0,backing=
    "#]],
    );
    let padded = Convert::new(&Image::raw("/d/from").by_flags(), Image::luks("/d/to", &to))
        .then_zeros(ByteSize::mib(3));
    pin(
        &padded,
        expect![[r#"
        convert
        --object secret,id=sec0,file=/proc/self/fd/900
        -p
        -t writeback
        --image-opts
        -n
        --target-image-opts
        --
        driver=raw,file.driver=file,file.filename=/d/from
        driver=null-co,size=3145728,read-zeroes=on
        driver=luks,file.driver=file,file.filename=/d/to,key-secret=sec0
    "#]],
    );
}

#[test]
fn nasty_paths_in_a_copy() {
    let path = bytes(b"/d/a,b:\xff\n");
    pin(
        &Convert::new(&Image::raw(&path).by_flags(), Image::qcow2(&path)),
        expect![[r#"
            convert
            -p
            -t writeback
            -f raw
            -n
            --target-image-opts
            --
            "/d/a,b:\xFF\n"
            "driver=qcow2,file.driver=file,file.filename=/d/a,,b:\xFF\n,backing="
        "#]],
    );
    let new = NewImage::new(&path, Layout::raw());
    pin(
        &Convert::new(&Image::qcow2(&path), new),
        expect![[r#"
        convert
        -p
        -t writeback
        --image-opts
        -O raw
        --
        "driver=qcow2,file.driver=file,file.filename=/d/a,,b:\xFF\n,backing="
        "/d/a,b:\xFF\n"
    "#]],
    );
}

#[test]
fn comparing_names_both_in_one_way() {
    let (a, b) = (key(), key());
    pin(
        &Compare::new(&Image::raw("/a").by_flags(), &Image::qcow2("/b").by_flags()),
        expect![[r#"
            compare
            -p
            -f raw
            -F qcow2
            --
            /a
            /b
        "#]],
    );
    pin(
        &Compare::new(&Image::raw("/a").by_flags(), &Image::luks("/b", &b)).strict(),
        expect![[r#"
            compare
            --object secret,id=sec0,file=/proc/self/fd/900
            -p
            -s
            --image-opts
            --
            driver=raw,file.driver=file,file.filename=/a
            driver=luks,file.driver=file,file.filename=/b,key-secret=sec0
        "#]],
    );
    pin(
        &Compare::new(&Image::qcow2_luks("/a", &a), &Image::luks("/b", &b)),
        expect![[r#"
            compare
            --object secret,id=sec0,file=/proc/self/fd/900
            --object secret,id=sec1,file=/proc/self/fd/901
            -p
            --image-opts
            --
            driver=qcow2,file.driver=file,file.filename=/a,encrypt.format=luks,encrypt.key-secret=sec0,backing=
            driver=luks,file.driver=file,file.filename=/b,key-secret=sec1
        "#]],
    );
}

#[test]
fn resizing() {
    let key = key();
    pin(
        &Resize::grow(&Image::luks("/a", &key), size(2)),
        expect![[r#"
        resize
        --object secret,id=sec0,file=/proc/self/fd/900
        -q
        --image-opts
        --
        driver=luks,file.driver=file,file.filename=/a,key-secret=sec0
        2097152
    "#]],
    );
    let full = Resize::grow(&Image::raw("/a").by_flags(), size(2)).preallocation(Preallocation::Full);
    pin(
        &full,
        expect![[r#"
        resize
        -q
        --preallocation=full
        -f raw
        --
        /a
        2097152
    "#]],
    );
    pin(
        &Resize::cut(&Image::qcow2_luks("/a,b", &key), size(1)),
        expect![[r#"
            resize
            --object secret,id=sec0,file=/proc/self/fd/900
            -q
            --shrink
            --image-opts
            --
            driver=qcow2,file.driver=file,file.filename=/a,,b,encrypt.format=luks,encrypt.key-secret=sec0,backing=
            1048576
        "#]],
    );
}
