use std::os::unix::fs::FileExt;

use strongroom_qemu_img::{
    Convert, ConvertOptions, Encrypted, Image, Load, Memory, Plain, QemuImgError, Refusal, Store,
};
use strongroom_types::Call;

use crate::{CANARY, KEY, Lab, SIZE, content, has_canary, run, same, tool};

#[test]
fn a_part_is_read_through_the_cipher_and_what_is_around_it_stays() {
    let lab = Lab::new();
    for image in [lab.luks("raw"), lab.qcow2_luks("qcow2")] {
        let memory: Memory<Encrypted> = Memory::zeros(SIZE / 2).unwrap();
        run(&Load::new(&image, SIZE / 4, &memory)).unwrap();
        let expected = content(CANARY);
        let part = SIZE as usize / 4..3 * SIZE as usize / 4;
        let mut read = vec![0; part.len()];
        memory.file().read_exact_at(&mut read, 0).unwrap();
        assert!(read == expected[part]);

        memory.clear(512, 1024).unwrap();
        run(&Store::new(&memory, &image, 4096)).unwrap();
        let mut after = expected.clone();
        after[4096..4096 + read.len()].copy_from_slice(&read);
        after[4608..5632].fill(0);
        assert!(same(&image, &Image::raw(lab.write("after", &after))));
        assert!(!has_canary(image.location().path()));
    }
}

#[test]
fn new_memory_is_zeros_however_long_and_a_part_of_a_copy_stays_in_its_place() {
    let lab = Lab::new();
    let image = lab.luks("raw");
    let zeros: Memory<Plain> = Memory::zeros(SIZE).unwrap();
    assert_eq!(zeros.length(), SIZE);
    run(&Store::new(&zeros, &image, 0)).unwrap();
    assert!(same(
        &image,
        &Image::raw(lab.write("zeros", &vec![0; SIZE as usize]))
    ));
    let (start, length) = (4096, 1 << 20);
    let template = Image::raw(lab.template());
    let copy = Convert::new(&template, &image)
        .options(ConvertOptions::fast())
        .part(start, length);
    tool().convert(&copy, &Call::new()).unwrap();
    let mut expected = vec![0; SIZE as usize];
    let part = start as usize..(start + length) as usize;
    expected[part.clone()].copy_from_slice(&content(CANARY)[part]);
    assert!(same(&image, &Image::raw(lab.write("expected", &expected))));
}

#[test]
fn a_part_of_what_is_not_as_described_is_refused() {
    let lab = Lab::new();
    let encrypted = lab.qcow2_luks("disk");
    let plain = Image::qcow2(encrypted.location().clone());
    let memory: Memory<Plain> = Memory::zeros(512).unwrap();
    let refused = run(&Load::new(&plain, 0, &memory)).unwrap_err();
    assert!(
        matches!(refused, QemuImgError::Refused(Refusal::OtherSide { .. })),
        "{refused:?}"
    );
    let memory: Memory<Encrypted> = Memory::zeros(512).unwrap();
    let odd = Image::luks(lab.template(), &KEY);
    let failed = run(&Store::new(&memory, &odd, 0)).unwrap_err();
    assert!(
        matches!(
            failed,
            QemuImgError::NotAsDescribed { .. } | QemuImgError::Failed { .. }
        ),
        "{failed:?}"
    );
}

#[test]
fn a_file_whose_length_is_odd_does_not_become_longer() {
    let lab = Lab::new();
    let odd = content(CANARY)[..SIZE as usize - 512].to_vec();
    let from = Image::raw(lab.write("from", &odd));
    let path = lab.write("to", &vec![0; odd.len()]);
    let copy = Convert::new(&from, Image::raw(&path)).options(ConvertOptions::fast());
    tool().convert(&copy, &Call::new()).unwrap();
    assert!(std::fs::read(&path).unwrap() == odd);
}
