use expect_test::expect;
use strongroom_qemu_img::{
    Cipher, ClusterSize, Create, Hash, Image, KeyDerivation, Layout, LuksOptions, Measure, NewImage,
    Preallocation, Qcow2Options,
};

use crate::{bytes, key, pin, shown, size};

fn fast() -> LuksOptions {
    LuksOptions::new(KeyDerivation::Fast)
}

#[test]
fn plain_images() {
    pin(
        &Create::sized(&NewImage::new("/d/a.raw", Layout::raw()), size(1)),
        expect![[r#"
            create
            -q
            -f raw
            --
            /d/a.raw
            1048576
        "#]],
    );
    let options = Qcow2Options::new()
        .cluster_size(ClusterSize::new(2 << 20).unwrap())
        .lazy_refcounts(true)
        .extended_l2(true);
    let layout = Layout::qcow2(options).preallocation(Preallocation::Metadata);
    pin(
        &Create::sized(&NewImage::new("/d/a.qcow2", layout), size(1)),
        expect![[r#"
            create
            -q
            -f qcow2
            -o compat=1.1,cluster_size=2097152,lazy_refcounts=on,extended_l2=on,preallocation=metadata
            --
            /d/a.qcow2
            1048576
        "#]],
    );
}

#[test]
fn encrypted_images() {
    let key = key();
    let qcow2 = Layout::qcow2_luks(&key, Qcow2Options::new(), fast());
    pin(
        &Create::sized(&NewImage::new("/d/a.qcow2", qcow2), size(1)),
        expect![[r#"
            create
            --object secret,id=sec0,file=/proc/self/fd/900
            -q
            -f qcow2
            -o compat=1.1,encrypt.format=luks,encrypt.key-secret=sec0,encrypt.cipher-alg=aes-256,encrypt.cipher-mode=xts,encrypt.ivgen-alg=plain64,encrypt.hash-alg=sha256,encrypt.iter-time=10
            --
            /d/a.qcow2
            1048576
        "#]],
    );
    let other = LuksOptions::new(KeyDerivation::Milliseconds(500.try_into().unwrap()))
        .cipher(Cipher::Aes128Xts)
        .hash(Hash::Sha512);
    let luks = Layout::luks(&key, other).preallocation(Preallocation::Falloc);
    pin(
        &Create::sized(&NewImage::new("/d/a.luks", luks), size(1)),
        expect![[r#"
            create
            --object secret,id=sec0,file=/proc/self/fd/900
            -q
            -f luks
            -o preallocation=falloc,key-secret=sec0,cipher-alg=aes-128,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha512,iter-time=500
            --
            /d/a.luks
            1048576
        "#]],
    );
    let costly = Layout::luks(&key, LuksOptions::default());
    pin(
        &Create::sized(&NewImage::new("/d/a.luks", costly), size(1)),
        expect![[r#"
            create
            --object secret,id=sec0,file=/proc/self/fd/900
            -q
            -f luks
            -o key-secret=sec0,cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,hash-alg=sha256
            --
            /d/a.luks
            1048576
        "#]],
    );
}

#[test]
fn overlays_say_the_format_of_their_base() {
    let (base_key, key) = (key(), key());
    let layout = Layout::qcow2_luks(&key, Qcow2Options::new(), fast());
    let over_encrypted = NewImage::new("/d/o", layout.clone()).backed_by(&Image::luks("/d/base", &base_key));
    pin(
        &Create::like_base(&over_encrypted),
        expect![[r#"
        create
        --object secret,id=sec0,file=/proc/self/fd/900
        -q
        -f qcow2
        -o compat=1.1,encrypt.format=luks,encrypt.key-secret=sec0,encrypt.cipher-alg=aes-256,encrypt.cipher-mode=xts,encrypt.ivgen-alg=plain64,encrypt.hash-alg=sha256,encrypt.iter-time=10
        -b /d/base
        -F luks
        --
        /d/o
    "#]],
    );
    let over_plain = NewImage::new("/d/o", layout).backed_by(&Image::qcow2("/d/base"));
    pin(
        &Create::sized(&over_plain, size(2)),
        expect![[r#"
        create
        --object secret,id=sec0,file=/proc/self/fd/900
        -q
        -f qcow2
        -o compat=1.1,encrypt.format=luks,encrypt.key-secret=sec0,encrypt.cipher-alg=aes-256,encrypt.cipher-mode=xts,encrypt.ivgen-alg=plain64,encrypt.hash-alg=sha256,encrypt.iter-time=10
        -b /d/base
        -F qcow2
        --
        /d/o
        2097152
    "#]],
    );
    let plain = NewImage::new("/d/o", Layout::qcow2(Qcow2Options::new())).backed_by(&Image::raw("/d/base"));
    pin(
        &Create::like_base(&plain),
        expect![[r#"
        create
        -q
        -f qcow2
        -o compat=1.1
        -b /d/base
        -F raw
        --
        /d/o
    "#]],
    );
}

#[test]
fn nasty_paths() {
    let mut all = String::new();
    for path in [
        &b"/d/a,b=c"[..],
        b"/d/json:{}",
        b"/d/x:y",
        b"/d/--help",
        b"/d/\xff",
        b"/d/a\nb",
    ] {
        let base = Image::raw(bytes(path));
        let image = NewImage::new(bytes(path), Layout::qcow2(Qcow2Options::new())).backed_by(&base);
        all += &shown(&Create::sized(&image, size(1)));
    }
    expect![[r#"
        create
        -q
        -f qcow2
        -o compat=1.1
        -b /d/a,b=c
        -F raw
        --
        /d/a,b=c
        1048576
        create
        -q
        -f qcow2
        -o compat=1.1
        -b /d/json:{}
        -F raw
        --
        /d/json:{}
        1048576
        create
        -q
        -f qcow2
        -o compat=1.1
        -b /d/x:y
        -F raw
        --
        /d/x:y
        1048576
        create
        -q
        -f qcow2
        -o compat=1.1
        -b /d/--help
        -F raw
        --
        /d/--help
        1048576
        create
        -q
        -f qcow2
        -o compat=1.1
        -b "/d/\xFF"
        -F raw
        --
        "/d/\xFF"
        1048576
        create
        -q
        -f qcow2
        -o compat=1.1
        -b "/d/a\nb"
        -F raw
        --
        "/d/a\nb"
        1048576
    "#]]
    .assert_eq(&all);
}

#[test]
fn measuring() {
    let (key, source) = (key(), key());
    let layout = Layout::qcow2_luks(&key, Qcow2Options::new(), fast());
    pin(
        &Measure::size(size(1), &layout),
        expect![[r#"
        measure
        --object secret,id=sec0,file=/proc/self/fd/900
        --output=json
        -O qcow2
        -o compat=1.1,encrypt.format=luks,encrypt.key-secret=sec0,encrypt.cipher-alg=aes-256,encrypt.cipher-mode=xts,encrypt.ivgen-alg=plain64,encrypt.hash-alg=sha256,encrypt.iter-time=10
        --size 1048576
        --
    "#]],
    );
    pin(
        &Measure::copy(&Image::luks("/d/a", &source), &layout),
        expect![[r#"
            measure
            --object secret,id=sec0,file=/proc/self/fd/900
            --object secret,id=sec1,file=/proc/self/fd/901
            --output=json
            -O qcow2
            -o compat=1.1,encrypt.format=luks,encrypt.key-secret=sec0,encrypt.cipher-alg=aes-256,encrypt.cipher-mode=xts,encrypt.ivgen-alg=plain64,encrypt.hash-alg=sha256,encrypt.iter-time=10
            --image-opts
            --
            driver=luks,file.driver=file,file.filename=/d/a,key-secret=sec1
        "#]],
    );
    pin(
        &Measure::copy(&Image::qcow2("/d/a").by_flags(), &Layout::raw()),
        expect![[r#"
            measure
            --output=json
            -O raw
            -f qcow2
            --
            /d/a
        "#]],
    );
}
