use strongroom_qemu_img::{
    Create, Image, Layout, NewImage, Preallocation, Protects, QemuImgError, Refusal, Resize, Side,
};
use strongroom_types::{Call, PayloadOffset};

use crate::{LUKS, Lab, SIZE, run, same, size, tool};

fn guest_size<S: Side>(image: &Image<'_, S>) -> u64 {
    tool().info(image, &Call::new()).unwrap().virtual_size
}

fn grows_exactly<S: Protects<S>>(image: &Image<'_, S>) {
    for bytes in [SIZE + 512, 5 << 20] {
        run(&Resize::grow(image, size(bytes))).unwrap();
        assert_eq!(guest_size(image), bytes);
    }
    let refusal = run(&Resize::grow(image, size(SIZE))).unwrap_err();
    assert!(
        matches!(refusal, QemuImgError::Refused(Refusal::WouldShrink { .. })),
        "{refusal:?}"
    );
    assert_eq!(guest_size(image), 5 << 20);
    run(&Resize::cut(image, size(SIZE))).unwrap();
    assert_eq!(guest_size(image), SIZE);
}

#[test]
fn every_format_grows_to_exactly_what_is_asked() {
    let lab = Lab::new();
    let template = Image::raw(lab.template());
    grows_exactly(&template.clone().by_flags());
    for image in [lab.qcow2_luks("q"), lab.luks("l")] {
        grows_exactly(&image);
        assert!(same(&template, &image));
    }
    let qcow2 = NewImage::new(lab.path("p"), Layout::qcow2(Default::default()));
    run(&Create::sized(&qcow2, size(SIZE))).unwrap();
    grows_exactly(&qcow2.image());
}

#[test]
fn the_new_part_takes_space_when_asked() {
    let lab = Lab::new();
    let image = Image::raw(lab.template());
    run(&Resize::grow(&image, size(8 << 20)).preallocation(Preallocation::Full)).unwrap();
    assert!(
        tool()
            .info(&image, &Call::new())
            .unwrap()
            .actual_size
            .unwrap()
            .get()
            >= 8 << 20
    );
}

#[test]
fn an_encrypted_disk_is_not_resized_as_a_raw_one() {
    let lab = Lab::new();
    let path = lab.write("l", &LUKS);
    for raw in [Image::raw(&path), Image::raw(&path).by_flags()] {
        let refusal = run(&Resize::grow(&raw, size(64 << 20))).unwrap_err();
        assert!(
            matches!(
                refusal,
                QemuImgError::Refused(Refusal::NotRaw { format: "LUKS", .. })
            ),
            "{refusal:?}"
        );
    }
    assert_eq!(std::fs::read(&path).unwrap(), *LUKS);
    // What the tool itself would have done: the guest's disk has some other size.
    run(&Resize::grow(&Image::raw(&path).opaque(), size(64 << 20))).unwrap();
    assert_eq!(
        guest_size(&Image::luks(&path, &crate::KEY)),
        (64 << 20) - PayloadOffset::LUKS1_QEMU.get()
    );
}

#[test]
fn an_encrypted_qcow2_is_not_resized_without_its_key() {
    let lab = Lab::new();
    let path = lab.qcow2_luks("q").location().path().to_owned();
    let refusal = run(&Resize::grow(&Image::qcow2(&path), size(64 << 20))).unwrap_err();
    assert!(
        matches!(refusal, QemuImgError::Refused(Refusal::OtherSide { .. })),
        "{refusal:?}"
    );
}
