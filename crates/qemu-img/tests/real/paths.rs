//! Whatever a file is called, it is that file which is made, read and written, and no other.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use proptest::prelude::*;
use strongroom_qemu_img::{
    Compare, Comparison, Convert, Create, Image, Layout, Map, NewImage, Qcow2Options, Rebase, Resize,
};
use strongroom_types::Call;

use crate::{Lab, run, size, tool};

const NASTY: [&[u8]; 16] = [
    b"a,b",
    b"a,,b,file.driver=nbd",
    b"json:{\"driver\":\"raw\"}",
    b"nbd:localhost:10809",
    b"file:a",
    b"x:y",
    b"-n",
    b"--help",
    b" a ",
    b"a\nb",
    b"a\tb\\\"'",
    b"%s%n",
    b"*?[a]",
    "größe-尺寸".as_bytes(),
    b"\xff\xfe,\x80",
    b"encrypt.key-secret=sec0",
];

/// Makes, grows, copies, overlays and rebases under this name, and finds that nothing else was made.
fn round_trip(name: &OsStr) {
    let lab = Lab::new();
    let path = lab.0.path().join(name);
    let new = NewImage::new(&path, Layout::qcow2(Qcow2Options::new()));
    run(&Create::sized(&new, size(64 << 10))).unwrap();
    run(&Resize::grow(&new.image(), size(128 << 10))).unwrap();
    for image in [new.image(), new.image().by_flags()] {
        let info = tool().info(&image, &Call::new()).unwrap();
        assert_eq!(info.virtual_size, 128 << 10);
        run(&Map::of(&image)).unwrap();
        assert_eq!(run(&Compare::new(&image, &image)).unwrap(), Comparison::Identical);
    }
    let content: Vec<u8> = (0..128 << 10).map(|n: u32| n as u8).collect();
    let source = Image::raw(lab.write("source", &content));
    run(&Convert::new(&source, new.image())).unwrap();
    assert_eq!(
        run(&Compare::new(&source, &new.image().by_flags())).unwrap(),
        Comparison::Identical
    );

    let overlay =
        NewImage::new(lab.path("overlay"), Layout::qcow2(Qcow2Options::new())).backed_by(&new.image());
    run(&Create::like_base(&overlay)).unwrap();
    assert_eq!(
        run(&Compare::new(&source, &overlay.image())).unwrap(),
        Comparison::Identical
    );
    tool()
        .rebase(&Rebase::rename(&overlay.image(), &new.image()), &Call::new())
        .unwrap();
    // The tool follows the name in the header by itself, which shows that it is the name of that file.
    let followed = NewImage::new(lab.path("followed"), Layout::raw());
    run(&Convert::new(&overlay.image(), &followed)).unwrap();
    assert_eq!(std::fs::read(followed.path()).unwrap(), content);

    let found: BTreeSet<OsString> = lab
        .0
        .path()
        .read_dir()
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    let expected = [name, "source".as_ref(), "overlay".as_ref(), "followed".as_ref()];
    assert_eq!(found, expected.into_iter().map(OsStr::to_owned).collect());
}

#[test]
fn nasty_names() {
    for name in NASTY {
        round_trip(OsStr::from_bytes(name));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_name_that_a_file_can_have(name in proptest::collection::vec(any::<u8>().prop_filter("none in a name", |b| !matches!(b, 0 | b'/')), 1..100)) {
        prop_assume!(name != b"." && name != b"..");
        round_trip(&OsString::from_vec(name));
    }
}
