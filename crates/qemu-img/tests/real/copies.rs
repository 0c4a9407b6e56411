use std::num::{NonZeroU8, NonZeroU32};
use std::sync::{Arc, Mutex};

use strongroom_qemu_img::{
    Cipher, Compare, Comparison, Convert, ConvertOptions, Create, Declassify, Hash, Image, KeyDerivation,
    Layout, LuksOptions, NewImage, Preallocation, Qcow2Options, QemuImgError, Refusal, Resize, Snapshot,
    SnapshotName, TargetCache,
};
use strongroom_types::{ByteSize, Call};

use crate::{CANARY, Lab, OTHER_KEY, SIZE, content, fast, has_canary, run, same, size, tool};

#[test]
fn encrypted_stays_encrypted_under_a_new_key() {
    let lab = Lab::new();
    let source = lab.qcow2_luks("from");
    let encryption = LuksOptions::new(KeyDerivation::Milliseconds(NonZeroU32::new(20).unwrap()))
        .cipher(Cipher::Aes128Xts)
        .hash(Hash::Sha512);
    let layout = Layout::qcow2_luks(&OTHER_KEY, Qcow2Options::new(), encryption)
        .preallocation(Preallocation::Metadata);
    let target = NewImage::new(lab.path("to"), layout);
    run(&Convert::new(&source, &target)).unwrap();
    let luks = tool()
        .info(&target.image(), &Call::new())
        .unwrap()
        .encryption
        .unwrap();
    assert_eq!((&*luks.cipher_alg, &*luks.hash_alg), ("aes-128", "sha512"));
    assert!(!has_canary(target.path()));
    assert!(same(&source, &target.image()));
    assert!(same(&Image::raw(lab.template()), &target.image()));
}

#[test]
fn encrypted_goes_to_clear_with_leave_only() {
    let lab = Lab::new();
    let leave = || Declassify::because("test of the export").unwrap();
    let new = NewImage::new(lab.path("new"), Layout::qcow2(Qcow2Options::new()));
    let convert = Convert::declassifying(&lab.luks("from"), &new, leave());
    assert_eq!(
        convert.declassification().map(Declassify::reason),
        Some("test of the export")
    );
    run(&convert).unwrap();
    assert!(has_canary(new.path()));
    let existing = Image::raw(lab.write("existing", &content(b"x"))).by_flags();
    run(&Convert::declassifying(
        &lab.qcow2_luks("from2"),
        &existing,
        leave(),
    ))
    .unwrap();
    assert_eq!(std::fs::read(lab.path("existing")).unwrap(), content(CANARY));
}

#[test]
fn plain_goes_anywhere_by_flags_and_by_options() {
    let lab = Lab::new();
    let source = Image::raw(lab.write("other", &content(b"another content")));
    for target in [lab.qcow2_luks("q"), lab.luks("l")] {
        assert!(!same(&source, &target));
        tool()
            .convert(
                &Convert::new(&source, &target).options(ConvertOptions::fast()),
                &Call::new(),
            )
            .unwrap();
        assert!(same(&source, &target));
        run(&Convert::new(&Image::raw(lab.template()).by_flags(), &target)).unwrap();
        assert!(same(&Image::raw(lab.path("template")).by_flags(), &target));
    }
    let plain = NewImage::new(lab.path("plain"), Layout::raw());
    run(&Convert::new(&source.clone().by_flags(), &plain)).unwrap();
    assert!(same(&source.by_flags(), &plain.image().by_flags()));
}

#[test]
fn a_copy_is_the_same_however_it_is_written() {
    let lab = Lab::new();
    let source = Image::raw(lab.template());
    let sixteen = NonZeroU8::new(16).unwrap();
    for options in [
        ConvertOptions::new(),
        ConvertOptions::new().cache(TargetCache::Unsafe),
        ConvertOptions::new().cache(TargetCache::Direct),
        ConvertOptions::fast().out_of_order(false),
        ConvertOptions::new()
            .parallel(sixteen)
            .rate(ByteSize::mib(1 << 10)),
    ] {
        let target = NewImage::new(lab.path("to"), Layout::qcow2(Qcow2Options::new()));
        run(&Convert::new(&source, &target).options(options)).unwrap();
        assert!(same(&source, &target.image()), "{options:?}");
        std::fs::remove_file(target.path()).unwrap();
    }
}

#[test]
fn progress_rises_to_the_end() {
    let lab = Lab::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watcher = Arc::clone(&seen);
    let call = Call::new().with_progress(Arc::new(move |fraction| watcher.lock().unwrap().push(fraction)));
    let target = NewImage::new(lab.path("to"), Layout::raw());
    tool()
        .run(&Convert::new(&Image::raw(lab.template()), &target), &call)
        .unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!(seen.last(), Some(&1.0));
}

#[test]
fn what_lies_behind_a_copy_on_raw_luks_is_noise_unless_zeros_follow() {
    let lab = Lab::new();
    let target = lab.luks("to");
    run(&Resize::grow(&target, size(2 * SIZE))).unwrap();
    let source = Image::raw(lab.template());
    run(&Convert::new(&source, &target)).unwrap();
    let different = run(&Compare::new(&source, &target)).unwrap();
    assert!(
        matches!(different, Comparison::Different { at: Some(at) } if at >= SIZE),
        "{different:?}"
    );
    run(&Convert::new(&source, &target).then_zeros(ByteSize::bytes(SIZE))).unwrap();
    assert!(same(&source, &target));
    assert_eq!(
        run(&Compare::new(&source, &target).strict()).unwrap(),
        Comparison::Different { at: None }
    );
}

#[test]
fn zeros_are_left_out_where_the_target_is_zero() {
    let lab = Lab::new();
    let target = NewImage::new(
        lab.path("to"),
        Layout::qcow2_luks(&OTHER_KEY, Qcow2Options::new(), fast()),
    );
    run(&Create::sized(&target, size(2 * SIZE))).unwrap();
    let source = Image::raw(lab.template());
    run(&Resize::grow(&source, size(2 * SIZE))).unwrap();
    let options = ConvertOptions::fast().target_is_zero();
    tool()
        .convert(
            &Convert::new(&source, target.image()).options(options),
            &Call::new(),
        )
        .unwrap();
    assert!(same(&source, &target.image()));
}

#[test]
fn a_snapshot_is_copied_instead_of_the_present() {
    let lab = Lab::new();
    let image = lab.qcow2_luks("image");
    let name = SnapshotName::new("before, really").unwrap();
    run(&Snapshot::create(&image, &name)).unwrap();
    run(&Convert::new(
        &Image::raw(lab.write("new", &content(b"new"))),
        &image,
    ))
    .unwrap();
    let target = lab.luks("to");
    run(&Convert::new(&image, &target).snapshot(&name)).unwrap();
    assert!(same(&Image::raw(lab.template()), &target));
    let missing = Convert::new(&image, &target).snapshot(&SnapshotName::new("no").unwrap());
    let refusal = run(&missing).unwrap_err();
    assert!(
        matches!(refusal, QemuImgError::Refused(Refusal::NoSnapshot { .. })),
        "{refusal:?}"
    );
}

#[test]
fn headers_that_say_more_than_the_description_are_refused() {
    let lab = Lab::new();
    let base = Image::raw(lab.template());
    let overlay = NewImage::new(lab.path("overlay"), Layout::qcow2(Qcow2Options::new())).backed_by(&base);
    run(&Create::like_base(&overlay)).unwrap();
    let target = NewImage::new(lab.path("to"), Layout::raw());

    let alone = Image::qcow2(overlay.path());
    let refusal = run(&Convert::new(&alone, &target)).unwrap_err();
    assert!(
        matches!(refusal, QemuImgError::Refused(Refusal::UndescribedBase { .. })),
        "{refusal:?}"
    );
    let by_flags = run(&Convert::new(&alone.by_flags(), &target)).unwrap_err();
    assert!(
        matches!(by_flags, QemuImgError::Refused(Refusal::UndescribedBase { .. })),
        "{by_flags:?}"
    );
    run(&Convert::new(&overlay.image(), &target)).unwrap();
    assert!(has_canary(target.path()));

    let plain = NewImage::new(lab.path("plain"), Layout::qcow2(Qcow2Options::new()));
    run(&Create::sized(&plain, size(SIZE))).unwrap();
    let refusal = run(&Convert::new(&plain.image().backed_by(base), lab.luks("l"))).unwrap_err();
    assert!(
        matches!(refusal, QemuImgError::Refused(Refusal::NoBaseInHeader { .. })),
        "{refusal:?}"
    );
}

#[test]
fn what_begins_with_a_header_is_no_raw_image_unless_it_is_opaque() {
    let lab = Lab::new();
    let source = Image::raw(lab.write("other", &content(b"another content")));
    for (image, expected) in [(lab.qcow2_luks("q"), "qcow2"), (lab.luks("l"), "LUKS")] {
        let path = image.location().path();
        let before = std::fs::read(path).unwrap();
        let raw = Image::raw(path);
        let into = run(&Convert::new(&source, &raw)).unwrap_err();
        let from = run(&Convert::new(&raw, lab.luks("to"))).unwrap_err();
        let grown = run(&Resize::grow(&raw, size(1 << 30))).unwrap_err();
        for refusal in [into, from, grown] {
            assert!(
                matches!(refusal, QemuImgError::Refused(Refusal::NotRaw { format, .. }) if format == expected),
                "{refusal:?}"
            );
        }
        assert!(std::fs::read(path).unwrap() == before);
        run(&Convert::new(&source, raw.opaque())).unwrap();
        assert!(
            std::fs::read(path)
                .unwrap()
                .starts_with(&content(b"another content"))
        );
    }
}

#[test]
fn an_image_that_keeps_its_data_elsewhere_is_refused() {
    let lab = Lab::new();
    let victim = lab.write("victim", &content(CANARY));
    let image = NewImage::new(lab.path("image"), Layout::qcow2(Qcow2Options::new()));
    run(&Create::sized(&image, size(SIZE))).unwrap();
    with_data_file(image.path(), &victim);
    let copy = Convert::new(&image.image(), NewImage::new(lab.path("loot"), Layout::raw()));
    let refusal = run(&copy).unwrap_err();
    assert!(
        matches!(refusal, QemuImgError::Refused(Refusal::DataFile { .. })),
        "{refusal:?}"
    );
    assert!(!lab.path("loot").exists());
}

/// Makes a qcow2 image refer to an external data file: the incompatible feature bit 2 and the header extension
/// 0x44415441, put where the list of extensions begins.
fn with_data_file(image: &std::path::Path, data: &std::path::Path) {
    let mut bytes = std::fs::read(image).unwrap();
    let header_length = u32::from_be_bytes(bytes[100..104].try_into().unwrap()) as usize;
    bytes[79] |= 4;
    let name = data.to_str().unwrap().as_bytes();
    let mut extension = 0x4441_5441u32.to_be_bytes().to_vec();
    extension.extend((name.len() as u32).to_be_bytes());
    extension.extend(name);
    extension.resize(extension.len().next_multiple_of(8), 0);
    extension.extend([0; 8]);
    bytes[header_length..header_length + extension.len()].copy_from_slice(&extension);
    std::fs::write(image, bytes).unwrap();
}
