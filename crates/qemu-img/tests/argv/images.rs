use expect_test::expect;
use strongroom_qemu_img::{Image, ImageFormat, Info, Location, Map};
use strongroom_types::DeviceSize;

use crate::{bytes, key, pin, shown, spec};

#[test]
fn a_plain_image_by_options_and_by_flags() {
    pin(
        &Map::of(&Image::qcow2("/d/a.qcow2")),
        expect![[r#"
        map
        --output=json
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/d/a.qcow2,backing=
    "#]],
    );
    pin(
        &Map::of(&Image::qcow2("/d/a.qcow2").by_flags()),
        expect![[r#"
        map
        --output=json
        -f qcow2
        --
        /d/a.qcow2
    "#]],
    );
    pin(
        &Map::of(&Image::raw(Location::block("/dev/vg/lv")).shared()),
        expect![[r#"
            map
            --output=json
            --image-opts
            --
            driver=raw,file.driver=host_device,file.filename=/dev/vg/lv,force-share=on
        "#]],
    );
}

#[test]
fn an_encrypted_image_says_so_and_names_its_key() {
    let key = key();
    pin(
        &Map::of(&Image::qcow2_luks("/d/a.qcow2", &key)),
        expect![[r#"
        map
        --object secret,id=sec0,file=/proc/self/fd/900
        --output=json
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/d/a.qcow2,encrypt.format=luks,encrypt.key-secret=sec0,backing=
    "#]],
    );
    pin(
        &Map::of(&Image::luks(
            Location::beginning("/dev/vg/lv", DeviceSize::new(1 << 20).unwrap()),
            &key,
        )),
        expect![[r#"
            map
            --object secret,id=sec0,file=/proc/self/fd/900
            --output=json
            --image-opts
            --
            driver=luks,file.driver=raw,file.size=1048576,file.file.driver=host_device,file.file.filename=/dev/vg/lv,key-secret=sec0
        "#]],
    );
    pin(
        &Map::of(&Image::luks(Location::block("/dev/vg/lv"), &key)),
        expect![[r#"
            map
            --object secret,id=sec0,file=/proc/self/fd/900
            --output=json
            --image-opts
            --
            driver=luks,file.driver=host_device,file.filename=/dev/vg/lv,key-secret=sec0
        "#]],
    );
}

#[test]
fn every_layer_is_said_with_its_own_key() {
    let (top, middle) = (key(), key());
    let chain = Image::qcow2_luks("/d/top", &top)
        .backed_by(Image::qcow2_luks("/d/middle", &middle).backed_by(Image::raw("/d/template")))
        .shared();
    pin(
        &Map::of(&chain).range(0, 512),
        expect![[r#"
        map
        --object secret,id=sec0,file=/proc/self/fd/900
        --object secret,id=sec1,file=/proc/self/fd/901
        --output=json
        --start-offset=0
        --max-length=512
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/d/top,encrypt.format=luks,encrypt.key-secret=sec0,backing.driver=qcow2,backing.file.driver=file,backing.file.filename=/d/middle,backing.encrypt.format=luks,backing.encrypt.key-secret=sec1,backing.backing.driver=raw,backing.backing.file.driver=file,backing.backing.file.filename=/d/template,force-share=on
    "#]],
    );
    assert_eq!(spec(&Map::of(&chain)).unwrap().descriptors().len(), 2);
}

#[test]
fn info_takes_no_key_and_leaves_the_backing_file_to_the_header() {
    let key = key();
    pin(
        &Info::of(&Image::qcow2_luks("/d/a", &key)),
        expect![[r#"
        info
        --output=json
        -U
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/d/a
    "#]],
    );
    pin(
        &Info::at(ImageFormat::Luks, "/d/a"),
        expect![[r#"
        info
        --output=json
        -U
        --image-opts
        --
        driver=luks,file.driver=file,file.filename=/d/a
    "#]],
    );
    pin(
        &Info::of(&Image::raw("/d/a").by_flags()),
        expect![[r#"
        info
        --output=json
        -U
        -f raw
        --
        /d/a
    "#]],
    );
}

#[test]
fn nasty_paths_stay_what_they_are() {
    let nasty: [&[u8]; 6] = [
        b"/d/a,file.driver=nbd",
        b"/d/json:{\"driver\":\"raw\"}",
        b"/d/nbd:h:1",
        b"/d/-n",
        b"/d/a\nb",
        b"/d/\xc3\xbc\xff",
    ];
    let mut all = String::new();
    for path in nasty {
        all += &shown(&Map::of(&Image::qcow2(bytes(path))));
        all += &shown(&Map::of(&Image::qcow2(bytes(path)).by_flags()));
    }
    expect![[r#"
        map
        --output=json
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/d/a,,file.driver=nbd,backing=
        map
        --output=json
        -f qcow2
        --
        /d/a,file.driver=nbd
        map
        --output=json
        --image-opts
        --
        "driver=qcow2,file.driver=file,file.filename=/d/json:{\"driver\":\"raw\"},backing="
        map
        --output=json
        -f qcow2
        --
        "/d/json:{\"driver\":\"raw\"}"
        map
        --output=json
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/d/nbd:h:1,backing=
        map
        --output=json
        -f qcow2
        --
        /d/nbd:h:1
        map
        --output=json
        --image-opts
        --
        driver=qcow2,file.driver=file,file.filename=/d/-n,backing=
        map
        --output=json
        -f qcow2
        --
        /d/-n
        map
        --output=json
        --image-opts
        --
        "driver=qcow2,file.driver=file,file.filename=/d/a\nb,backing="
        map
        --output=json
        -f qcow2
        --
        "/d/a\nb"
        map
        --output=json
        --image-opts
        --
        "driver=qcow2,file.driver=file,file.filename=/d/ü\xFF,backing="
        map
        --output=json
        -f qcow2
        --
        "/d/ü\xFF"
    "#]]
    .assert_eq(&all);
    let spec = spec(&Map::of(&Image::raw(bytes(b"/d/\xff")).by_flags())).unwrap();
    assert_eq!(spec.arguments().last().unwrap(), bytes(b"/d/\xff").as_os_str());
}
