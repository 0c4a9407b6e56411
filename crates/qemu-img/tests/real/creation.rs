use strongroom_qemu_img::{
    Cipher, ClusterSize, Create, Image, Layout, Measure, NewImage, Preallocation, Qcow2Options, QemuImgError,
    Refusal,
};
use strongroom_types::{Call, Geometry, PayloadOffset};

use crate::{KEY, LUKS, Lab, OTHER_KEY, QCOW2_LUKS, SIZE, fast, has_canary, run, size, tool};

#[test]
fn plain_images_have_the_size_and_options_that_were_asked() {
    let lab = Lab::new();
    let odd = size(3 << 20 | 512);
    let raw = NewImage::new(
        lab.path("raw"),
        Layout::raw().preallocation(Preallocation::Falloc),
    );
    run(&Create::sized(&raw, odd)).unwrap();
    let info = tool().info(&raw.image(), &Call::new()).unwrap();
    assert_eq!(info.guest_size(), Ok(odd));
    assert!(info.actual_size.unwrap().get() >= odd.get());

    let cluster = ClusterSize::new(32 << 10).unwrap();
    let options = Qcow2Options::new()
        .cluster_size(cluster)
        .extended_l2(true)
        .lazy_refcounts(true);
    let qcow2 = NewImage::new(lab.path("qcow2"), Layout::qcow2(options));
    run(&Create::sized(&qcow2, odd)).unwrap();
    let info = tool().info(&qcow2.image(), &Call::new()).unwrap();
    assert_eq!(
        (info.guest_size(), info.cluster_size, info.encrypted),
        (Ok(odd), Some(32 << 10), false)
    );
    assert_eq!(info.compat.as_deref(), Some("1.1"));

    let old = NewImage::new(lab.path("old"), Layout::qcow2(Qcow2Options::new().version_2()));
    run(&Create::sized(&old, odd)).unwrap();
    assert_eq!(
        tool().info(&old.image(), &Call::new()).unwrap().compat.as_deref(),
        Some("0.10")
    );
}

#[test]
fn encrypted_qcow2_says_how_it_is_encrypted_and_hides_its_content() {
    let lab = Lab::new();
    let image = lab.qcow2_luks("a");
    let info = tool().info(&image, &Call::new()).unwrap();
    assert_eq!((info.virtual_size, info.encrypted), (SIZE, true));
    let luks = info.encryption.unwrap();
    let words = [
        &luks.cipher_alg,
        &luks.cipher_mode,
        &luks.ivgen_alg,
        &luks.hash_alg,
    ]
    .map(String::as_str);
    assert_eq!(words, ["aes-256", "xts", "plain64", "sha256"]);
    assert_eq!(luks.active_slots().collect::<Vec<_>>(), [0]);
    // The default of 2 s is millions of iterations on any machine of this century.
    assert!(luks.slots[0].iters.unwrap() < 500_000, "{luks:?}");
    assert!(!has_canary(image.location().path()));
    assert_eq!(
        QCOW2_LUKS[32..36],
        [0, 0, 0, 2],
        "crypt_method in the qcow2 header"
    );
}

#[test]
fn a_raw_luks_file_is_longer_than_the_guests_disk_by_its_header() {
    let lab = Lab::new();
    let image = lab.luks("a");
    let info = tool().info(&image, &Call::new()).unwrap();
    let luks = info.encryption.unwrap();
    assert_eq!(
        (info.virtual_size, luks.payload_offset),
        (SIZE, PayloadOffset::LUKS1_QEMU.get())
    );
    let geometry = Geometry::for_guest(size(SIZE), PayloadOffset::LUKS1_QEMU).unwrap();
    assert_eq!(LUKS.len() as u64, geometry.device().get());
    assert!(LUKS.starts_with(b"LUKS\xba\xbe\0\x01"));
    assert!(!has_canary(image.location().path()));
}

#[test]
fn a_path_where_something_is_stays_as_it_is() {
    let lab = Lab::new();
    let precious = lab.write("precious", b"precious");
    let dangling = lab.path("dangling");
    std::os::unix::fs::symlink("/nonexistent", &dangling).unwrap();
    for path in [precious.clone(), dangling.clone()] {
        let create = Create::sized(&NewImage::new(&path, Layout::luks(&KEY, fast())), size(SIZE));
        let refusal = run(&create).unwrap_err();
        assert!(matches!(refusal, QemuImgError::Refused(Refusal::Exists { path: p }) if p == path));
    }
    assert_eq!(std::fs::read(precious).unwrap(), b"precious");
    assert!(dangling.is_symlink());
}

#[test]
fn where_nobody_can_look_nothing_is_made() {
    let lab = Lab::new();
    let below_a_file = lab.write("file", b"precious").join("image");
    let create = Create::sized(&NewImage::new(&below_a_file, Layout::raw()), size(SIZE));
    let error = run(&create).unwrap_err();
    assert!(
        matches!(&error, QemuImgError::File { doing: "look at", path, .. } if *path == below_a_file),
        "{error:?}"
    );
}

#[test]
fn an_overlay_in_clear_over_an_encrypted_base_is_refused_however_the_base_is_described() {
    let lab = Lab::new();
    let (qcow2, luks) = (lab.write("qcow2", &QCOW2_LUKS), lab.write("luks", &LUKS));
    let layout = || Layout::qcow2(Qcow2Options::new());
    let over = NewImage::new(lab.path("o"), layout()).backed_by(&Image::qcow2(&qcow2));
    let refusal = run(&Create::like_base(&over)).unwrap_err();
    assert!(
        matches!(
            refusal,
            QemuImgError::Refused(Refusal::OtherSide {
                found: "encrypted",
                ..
            })
        ),
        "{refusal:?}"
    );
    let over = NewImage::new(lab.path("o"), layout()).backed_by(&Image::raw(&luks));
    let refusal = run(&Create::like_base(&over)).unwrap_err();
    assert!(
        matches!(
            refusal,
            QemuImgError::Refused(Refusal::NotRaw { format: "LUKS", .. })
        ),
        "{refusal:?}"
    );
    assert!(!lab.path("o").exists());
}

#[test]
fn measuring_says_what_the_file_will_take() {
    let lab = Lab::new();
    let luks = Layout::luks(&OTHER_KEY, fast().cipher(Cipher::Aes128Xts));
    let measured = run(&Measure::size(size(10 << 30), &luks)).unwrap();
    assert_eq!(measured.required, (10 << 30) + 1_052_672);
    let qcow2 = Layout::qcow2(Qcow2Options::new());
    let copy = run(&Measure::copy(&lab.qcow2_luks("a"), &qcow2)).unwrap();
    assert!(
        copy.required > SIZE && copy.required == copy.fully_allocated,
        "{copy:?}"
    );
    let empty = run(&Measure::size(size(SIZE), &qcow2)).unwrap();
    assert!(empty.required < SIZE && empty.fully_allocated > SIZE, "{empty:?}");
}
