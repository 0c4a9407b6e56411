//! Block devices: loop devices, which only root can attach.

use std::path::{Path, PathBuf};

use strongroom_exec::{CommandSpec, Completed, Program, Runner, SystemRunner, Watch};
use strongroom_qemu_img::{
    Amend, Convert, ConvertOptions, Image, KeyDerivation, Layout, Location, Map, NewImage, Qcow2Options,
    QemuImgError, Refusal, Resize,
};
use strongroom_types::{Call, DeviceSize, PayloadOffset};

use crate::{KEY, LUKS, Lab, OTHER_KEY, SIZE, has_canary, run, same, size, tool};

/// A loop device, detached when dropped.
struct Loop(PathBuf);

fn losetup(words: &[&Path]) -> Completed {
    let losetup = Program::find("losetup").expect("apt-get install mount");
    let spec = CommandSpec::new(losetup).args(words);
    SystemRunner::new().run(&spec, &Watch::nobody()).unwrap()
}

impl Loop {
    /// On this file; `None` for an ordinary user. That he is one is asserted, so that nothing is left out otherwise.
    fn on(file: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert_ne!(rustix::process::geteuid().as_raw(), 0);
            println!("not run: only root can attach a loop device");
            return None;
        }
        // One at a time: who is late claims, for an instant, the device that another one just got.
        let one_at_a_time = std::fs::File::open("/dev/loop-control").unwrap();
        rustix::fs::flock(&one_at_a_time, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let made = losetup(&["--find".as_ref(), "--show".as_ref(), file]);
        assert_eq!(made.code, 0, "root needs loop devices: {}", made.message());
        Some(Self(PathBuf::from(
            String::from_utf8(made.stdout).unwrap().trim(),
        )))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        losetup(&["--detach".as_ref(), &self.0]);
    }
}

#[test]
fn an_encrypted_device_is_opened_filled_and_copied_from() {
    let lab = Lab::new();
    let Some(device) = Loop::on(&lab.write("below", &LUKS)) else {
        return;
    };
    let location = Location::at(&device.0).unwrap();
    assert_eq!(location, Location::block(&device.0));
    let image = Image::luks(location.clone(), &KEY);
    let template = Image::raw(lab.template());
    assert_eq!(tool().info(&image, &Call::new()).unwrap().virtual_size, SIZE);
    tool().prove_key(&image, &Call::new()).unwrap();
    let wrong = tool()
        .prove_key(&Image::luks(location.clone(), &OTHER_KEY), &Call::new())
        .unwrap_err();
    assert!(matches!(wrong, QemuImgError::WrongKey { .. }), "{wrong:?}");
    assert!(same(&template, &image));

    let other = Image::raw(lab.write("other", &vec![7; SIZE as usize]));
    let copy = Convert::new(&other, &image).options(ConvertOptions::fast());
    tool().convert(&copy, &Call::new()).unwrap();
    assert!(same(&other, &image));
    let overlay = NewImage::new(lab.path("copy"), Layout::qcow2(Qcow2Options::new()));
    let leave = strongroom_qemu_img::Declassify::because("a test").unwrap();
    run(&Convert::declassifying(&image, &overlay, leave)).unwrap();
    assert!(same(&other, &overlay.image()));

    run(&Amend::add_key(&image, &OTHER_KEY, KeyDerivation::Fast)).unwrap();
    let own = run(&Amend::remove_slot(&image, 0)).unwrap_err();
    assert!(
        matches!(own, QemuImgError::Refused(Refusal::KeyThatGoes { .. })),
        "{own:?}"
    );
    run(&Amend::remove_slot(&image, 1)).unwrap();

    let as_file = run(&Map::of(&Image::luks(Location::file(&device.0), &KEY))).unwrap_err();
    assert!(
        matches!(as_file, QemuImgError::Refused(Refusal::NotA { .. })),
        "{as_file:?}"
    );
    let as_raw = run(&Map::of(&Image::raw(location))).unwrap_err();
    assert!(
        matches!(
            as_raw,
            QemuImgError::Refused(Refusal::NotRaw { format: "LUKS", .. })
        ),
        "{as_raw:?}"
    );
}

#[test]
fn a_device_is_as_large_as_it_is() {
    let lab = Lab::new();
    let luks = Loop::on(&lab.write("luks", &LUKS));
    let plain = Loop::on(&lab.template());
    let (Some(luks), Some(plain)) = (luks, plain) else {
        return;
    };
    let image = Image::luks(Location::block(&luks.0), &KEY);
    for grown in [
        run(&Resize::grow(&image, size(2 * SIZE))),
        run(&Resize::grow(
            &Image::raw(Location::block(&plain.0)),
            size(2 * SIZE),
        )),
    ] {
        assert!(matches!(grown, Err(QemuImgError::Failed { .. })), "{grown:?}");
    }
    let seen = tool().info(&image, &Call::new()).unwrap();
    assert_eq!(seen.virtual_size, SIZE);
    assert_eq!(LUKS.len() as u64, SIZE + PayloadOffset::LUKS1_QEMU.get());
    assert!(has_canary(&lab.path("template")));
    assert!(same(&Image::raw(Location::block(&plain.0)), &image));
}

#[test]
fn only_the_beginning_of_a_device_is_read_and_written_where_only_that_is_the_image() {
    let lab = Lab::new();
    let behind = vec![0xcc; 1 << 20];
    let (luks, plain) = (LUKS.to_vec(), vec![0; SIZE as usize]);
    for (number, content) in [luks, plain].iter().enumerate() {
        let whole = [content.as_slice(), behind.as_slice()].concat();
        let Some(device) = Loop::on(&lab.write(&number.to_string(), &whole)) else {
            return;
        };
        let bytes = DeviceSize::new(content.len() as u64).unwrap();
        let place = Location::beginning(&device.0, bytes);
        let other = Image::raw(lab.write("other", &vec![7; SIZE as usize]));
        let fast = ConvertOptions::fast();
        if number == 0 {
            let image = Image::luks(place.clone(), &KEY);
            assert_eq!(tool().info(&image, &Call::new()).unwrap().virtual_size, SIZE);
            tool().prove_key(&image, &Call::new()).unwrap();
            run(&Amend::add_key(&image, &OTHER_KEY, KeyDerivation::Fast)).unwrap();
            tool()
                .convert(&Convert::new(&other, &image).options(fast), &Call::new())
                .unwrap();
            assert!(same(&other, &image));
        } else {
            let image = Image::raw(place.clone());
            assert_eq!(tool().info(&image, &Call::new()).unwrap().virtual_size, SIZE);
            tool()
                .convert(&Convert::new(&other, &image).options(fast), &Call::new())
                .unwrap();
            assert!(same(&other, &image));
        }
        let after = std::fs::read(&device.0).unwrap();
        assert!(after.get(content.len()..) == Some(&behind));

        let more = DeviceSize::new(whole.len() as u64 + 512).unwrap();
        let too_much = Image::raw(Location::beginning(&device.0, more)).opaque();
        let refused = run(&Map::of(&too_much)).unwrap_err();
        assert!(matches!(refused, QemuImgError::Failed { .. }), "{refused:?}");
    }
}
