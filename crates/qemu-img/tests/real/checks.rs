use strongroom_qemu_img::{
    Check, Convert, Create, Image, Layout, Location, Map, NewImage, QemuImgError, Repair, Verdict,
};

use crate::{Lab, SIZE, run, size};

/// A plain qcow2 image whose reference count of one cluster is set to what it is not.
fn with_refcount(lab: &Lab, cluster: usize, count: u16) -> Image<'static, strongroom_qemu_img::Plain> {
    let image = NewImage::new(lab.path("image"), Layout::qcow2(Default::default()));
    run(&Create::sized(&image, size(SIZE))).unwrap();
    run(&Convert::new(&Image::raw(lab.template()), image.image())).unwrap();
    let mut bytes = std::fs::read(image.path()).unwrap();
    let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let block = word(word(48));
    bytes[block + 2 * cluster..block + 2 * cluster + 2].copy_from_slice(&count.to_be_bytes());
    bytes.resize(bytes.len().max((cluster + 1) << 16), 0);
    std::fs::write(image.path(), bytes).unwrap();
    Image::qcow2(image.path())
}

#[test]
fn a_sound_encrypted_image_is_clean() {
    let lab = Lab::new();
    let report = run(&Check::of(&lab.qcow2_luks("q"))).unwrap();
    assert_eq!(
        (report.verdict, report.corruptions, report.leaks),
        (Verdict::Clean, 0, 0)
    );
    assert_eq!(
        (report.total_clusters, report.allocated_clusters),
        (Some(SIZE >> 16), Some(SIZE >> 16))
    );
    assert!(report.image_end_offset.unwrap() >= SIZE);
}

#[test]
fn leaks_are_found_and_freed() {
    let lab = Lab::new();
    let image = with_refcount(&lab, 60, 1);
    let report = run(&Check::of(&image)).unwrap();
    assert_eq!(
        (report.verdict, report.leaks, report.corruptions),
        (Verdict::Leaks, 1, 0)
    );
    let report = run(&Check::of(&image).repair(Repair::Leaks)).unwrap();
    assert_eq!(
        (report.verdict, report.leaks, report.leaks_fixed),
        (Verdict::Clean, 0, 1)
    );
    assert_eq!(run(&Check::of(&image)).unwrap().verdict, Verdict::Clean);
}

#[test]
fn corruption_is_found_and_repaired() {
    let lab = Lab::new();
    let image = with_refcount(&lab, 5, 0);
    let report = run(&Check::of(&image.clone().by_flags())).unwrap();
    assert_eq!(report.verdict, Verdict::Corrupt);
    assert!(report.corruptions > 0);
    let report = run(&Check::of(&image).repair(Repair::All)).unwrap();
    assert_eq!(report.verdict, Verdict::Clean);
    assert!(report.corruptions_fixed > 0);
}

#[test]
fn formats_without_tables_cannot_be_checked() {
    let lab = Lab::new();
    for result in [
        run(&Check::of(&Image::raw(lab.template()))),
        run(&Check::of(&lab.luks("l"))),
    ] {
        assert!(
            matches!(result, Err(QemuImgError::Unsupported { .. })),
            "{result:?}"
        );
    }
}

#[test]
fn a_map_says_which_parts_hold_data_and_where() {
    let lab = Lab::new();
    let qcow2 = lab.qcow2_luks("q");
    let all = run(&Map::of(&qcow2)).unwrap();
    assert_eq!(all.iter().map(|extent| extent.length).sum::<u64>(), SIZE);
    assert!(
        all.iter()
            .all(|extent| extent.data && !extent.zero && extent.depth == 0),
        "{all:?}"
    );
    let part = run(&Map::of(&qcow2).range(4096, 8192)).unwrap();
    assert_eq!(
        part.iter()
            .map(|extent| (extent.start, extent.length))
            .collect::<Vec<_>>(),
        [(4096, 8192)]
    );

    let empty = NewImage::new(lab.path("e"), Layout::qcow2(Default::default()))
        .backed_by(&Image::raw(lab.template()));
    run(&Create::sized(&empty, size(2 * SIZE))).unwrap();
    let all = run(&Map::of(&empty.image())).unwrap();
    let parts: Vec<_> = all.iter().map(|e| (e.start, e.length, e.depth, e.data)).collect();
    assert_eq!(parts, [(0, SIZE, 1, true), (SIZE, SIZE, 0, false)]);
}

#[test]
fn a_place_of_another_kind_than_described_is_refused() {
    let lab = Lab::new();
    let path = lab.template();
    let as_device = run(&Map::of(&Image::raw(Location::block(&path)))).unwrap_err();
    assert_eq!(as_device.to_string(), format!("{path:?} is not a block device"));
    let as_file = run(&Map::of(&Image::raw("/dev/zero"))).unwrap_err();
    assert_eq!(as_file.to_string(), r#""/dev/zero" is not a regular file"#);
}
