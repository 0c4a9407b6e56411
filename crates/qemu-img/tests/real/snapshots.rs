use strongroom_qemu_img::{
    Bitmap, BitmapName, Convert, Create, Image, Layout, NewImage, QemuImgError, Refusal, Snapshot,
    SnapshotName,
};
use strongroom_types::Call;

use crate::{Lab, SIZE, content, run, same, size, tool};

#[test]
fn an_encrypted_image_goes_back_to_its_snapshot() {
    let lab = Lab::new();
    let image = lab.qcow2_luks("q");
    let (name, second) = (
        SnapshotName::new("-vor dem Update, 1").unwrap(),
        SnapshotName::new("2nd").unwrap(),
    );
    run(&Snapshot::create(&image, &name)).unwrap();
    let again = run(&Snapshot::create(&image, &name)).unwrap_err();
    assert!(
        matches!(again, QemuImgError::Refused(Refusal::SnapshotExists { .. })),
        "{again:?}"
    );
    let new = Image::raw(lab.write("new", &content(b"new content")));
    run(&Convert::new(&new, &image)).unwrap();
    run(&Snapshot::create(&image, &second)).unwrap();
    assert!(same(&new, &image));

    run(&Snapshot::apply(&image, &name)).unwrap();
    assert!(same(&Image::raw(lab.template()), &image));
    let snapshots = tool().info(&image, &Call::new()).unwrap().snapshots;
    let names: Vec<_> = snapshots
        .iter()
        .map(|s| (s.id.as_str(), s.name.as_str(), s.vm_state_size))
        .collect();
    assert_eq!(names, [("1", name.as_str(), 0), ("2", "2nd", 0)]);
    assert!(snapshots.iter().all(|s| s.date_sec > 1_700_000_000));

    run(&Snapshot::delete(&image, &name)).unwrap();
    assert_eq!(tool().info(&image, &Call::new()).unwrap().snapshots.len(), 1);
    for missing in [Snapshot::delete(&image, &name), Snapshot::apply(&image, &name)] {
        let refusal = run(&missing).unwrap_err();
        assert!(
            matches!(refusal, QemuImgError::Refused(Refusal::NoSnapshot { .. })),
            "{refusal:?}"
        );
    }
}

#[test]
fn bitmaps_of_an_encrypted_image_record_merge_and_go() {
    let lab = Lab::new();
    let image = lab.qcow2_luks("q");
    let (first, second) = (
        BitmapName::new("-first").unwrap(),
        BitmapName::new("second, with comma").unwrap(),
    );
    let bitmaps = || {
        let found = tool().info(&image, &Call::new()).unwrap().bitmaps;
        let mut all: Vec<_> = found
            .iter()
            .map(|b| (b.name.clone(), b.granularity, b.is_recording()))
            .collect();
        all.sort();
        all
    };
    run(&Bitmap::add(&image, &first)).unwrap();
    run(&Bitmap::add_granular(&image, &second, 4096)).unwrap();
    run(&Bitmap::disable(&image, &second)).unwrap();
    let (a, b) = (first.to_string(), second.to_string());
    assert_eq!(bitmaps(), [(a.clone(), 65536, true), (b.clone(), 4096, false)]);
    run(&Bitmap::merge(&image, &first, &second)).unwrap();
    run(&Bitmap::clear(&image, &first)).unwrap();
    run(&Bitmap::enable(&image, &second)).unwrap();
    assert_eq!(bitmaps(), [(a, 65536, true), (b.clone(), 4096, true)]);
    run(&Bitmap::remove(&image, &first)).unwrap();
    assert_eq!(bitmaps(), [(b, 4096, true)]);
    let missing = run(&Bitmap::remove(&image, &first)).unwrap_err();
    assert!(matches!(missing, QemuImgError::NotFound { .. }), "{missing:?}");
}

#[test]
fn plain_images_named_by_flags_have_snapshots_and_bitmaps_too() {
    let lab = Lab::new();
    let new = NewImage::new(lab.path("p"), Layout::qcow2(Default::default()));
    run(&Create::sized(&new, size(SIZE))).unwrap();
    let mut image = new.image().by_flags();
    let name = SnapshotName::new("s").unwrap();
    match run(&Snapshot::create(&image, &name)) {
        // QEMU 7.2 has no such flag there.
        Err(QemuImgError::Failed { message, .. }) if message.contains("unrecognized option '-f'") => {
            image = new.image();
            run(&Snapshot::create(&image, &name)).unwrap();
        }
        taken => taken.unwrap(),
    }
    let bitmap = BitmapName::new("-b").unwrap();
    run(&Bitmap::add(&image, &bitmap)).unwrap();
    let info = tool().info(&image, &Call::new()).unwrap();
    assert_eq!((info.snapshots.len(), info.bitmaps.len()), (1, 1));
    let recording = run(&Snapshot::apply(&image, &name)).unwrap_err();
    assert!(matches!(recording, QemuImgError::Failed { .. }), "{recording:?}");
    run(&Bitmap::remove(&image, &bitmap)).unwrap();
    run(&Snapshot::apply(&image, &name)).unwrap();
    run(&Snapshot::delete(&image, &name)).unwrap();
}
