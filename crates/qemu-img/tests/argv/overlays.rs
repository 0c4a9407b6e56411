use expect_test::expect;
use strongroom_qemu_img::{Commit, Declassify, Image, Rebase};

use crate::{bytes, key, pin};

#[test]
fn rebasing() {
    let (top, base, new) = (key(), key(), key());
    let overlay = Image::qcow2_luks("/d/o", &top).backed_by(Image::qcow2_luks("/d/base", &base));
    pin(
        &Rebase::flatten(&overlay),
        expect![[r#"
        rebase
        --object secret,id=sec0,file=/proc/self/fd/900
        --object secret,id=sec1,file=/proc/self/fd/901
        -p
        --image-opts
        -b ""
        --
        driver=qcow2,file.driver=file,file.filename=/d/o,encrypt.format=luks,encrypt.key-secret=sec0,backing.driver=qcow2,backing.file.driver=file,backing.file.filename=/d/base,backing.encrypt.format=luks,backing.encrypt.key-secret=sec1,backing.backing=
    "#]],
    );
    pin(
        &Rebase::onto(&overlay, &Image::qcow2_luks("/d/new,1", &new)),
        expect![[r#"
            rebase
            --object secret,id=sec0,file=/proc/self/fd/900
            --object secret,id=sec1,file=/proc/self/fd/901
            --object secret,id=sec2,file=/proc/self/fd/902
            -p
            --image-opts
            -b "json:{\"backing\":null,\"driver\":\"qcow2\",\"encrypt\":{\"format\":\"luks\",\"key-secret\":\"sec2\"},\"file\":{\"driver\":\"file\",\"filename\":\"/d/new,1\"}}"
            -F qcow2
            --
            driver=qcow2,file.driver=file,file.filename=/d/o,encrypt.format=luks,encrypt.key-secret=sec0,backing.driver=qcow2,backing.file.driver=file,backing.file.filename=/d/base,backing.encrypt.format=luks,backing.encrypt.key-secret=sec1,backing.backing=
        "#]],
    );
    pin(
        &Rebase::onto(&overlay, &Image::raw("/d/new")),
        expect![[r#"
        rebase
        --object secret,id=sec0,file=/proc/self/fd/900
        --object secret,id=sec1,file=/proc/self/fd/901
        -p
        --image-opts
        -b /d/new
        -F raw
        --
        driver=qcow2,file.driver=file,file.filename=/d/o,encrypt.format=luks,encrypt.key-secret=sec0,backing.driver=qcow2,backing.file.driver=file,backing.file.filename=/d/base,backing.encrypt.format=luks,backing.encrypt.key-secret=sec1,backing.backing=
    "#]],
    );
    pin(
        &Rebase::rename(&overlay, &Image::luks(bytes(b"/d/\xff"), &new)),
        expect![[r#"
            rebase
            --object secret,id=sec0,file=/proc/self/fd/900
            -p
            --image-opts
            -u
            -b "/d/\xFF"
            -F luks
            --
            driver=qcow2,file.driver=file,file.filename=/d/o,encrypt.format=luks,encrypt.key-secret=sec0,backing=
        "#]],
    );
    let plain = Image::qcow2("/d/o").backed_by(Image::luks("/d/base", &base));
    let leave = Declassify::because("rescue").unwrap();
    pin(
        &Rebase::flatten(&plain).declassify(leave),
        expect![[r#"
        rebase
        --object secret,id=sec0,file=/proc/self/fd/900
        -p
        --image-opts
        -b ""
        --
        driver=qcow2,file.driver=file,file.filename=/d/o,backing.driver=luks,backing.file.driver=file,backing.file.filename=/d/base,backing.key-secret=sec0
    "#]],
    );
}

#[test]
fn committing() {
    let (top, base) = (key(), key());
    let overlay = Image::qcow2_luks("/d/o", &top).backed_by(Image::luks("/d/base", &base));
    pin(
        &Commit::of(&overlay),
        expect![[r#"
        commit
        --object secret,id=sec0,file=/proc/self/fd/900
        --object secret,id=sec1,file=/proc/self/fd/901
        -p
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/d/o,encrypt.format=luks,encrypt.key-secret=sec0,backing.driver=luks,backing.file.driver=file,backing.file.filename=/d/base,backing.key-secret=sec1
    "#]],
    );
    let plain = Image::qcow2("/d/o").backed_by(Image::raw("/d/base"));
    pin(
        &Commit::of(&plain).keep_overlay(),
        expect![[r#"
        commit
        -p
        -d
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/d/o,backing.driver=raw,backing.file.driver=file,backing.file.filename=/d/base
    "#]],
    );
    let leave = Declassify::because("template is public").unwrap();
    let down = Image::qcow2_luks("/d/o", &top).backed_by(Image::qcow2("/d/base"));
    pin(
        &Commit::of(&down).declassify(leave),
        expect![[r#"
        commit
        --object secret,id=sec0,file=/proc/self/fd/900
        -p
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/d/o,encrypt.format=luks,encrypt.key-secret=sec0,backing.driver=qcow2,backing.file.driver=file,backing.file.filename=/d/base,backing.backing=
    "#]],
    );
}
