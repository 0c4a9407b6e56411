use std::path::Path;

use strongroom_cryptsetup::{
    Access, CryptsetupError, Discards, MappingName, MappingStatus, OpenOptions, Overwrite, Target,
};
use strongroom_lab::{Guest, in_guest};
use strongroom_types::{EncryptionFormat, GuestSize};

use crate::place::{Loop, Place, call, cryptsetup, fresh, is_root, key, room};

/// What can be done depends on the kernel, and each of the two kinds is tested for what it does.
#[test]
fn a_mapping_lives_where_there_is_device_mapper_and_its_lack_is_named_where_there_is_none() {
    let name: MappingName = "strongroom-test".parse().unwrap();
    // Has the kernel load the driver where it is a module.
    let first = cryptsetup().status(&call(), &name);
    let drivers = std::fs::read_to_string("/proc/misc").unwrap();
    if drivers.lines().any(|line| line.ends_with(" device-mapper")) {
        if !is_root() {
            assert_ne!(rustix::process::geteuid().as_raw(), 0);
            println!("not run: only root may speak to device-mapper");
            return;
        }
        assert_eq!(first.unwrap(), MappingStatus::Inactive);
        for format in crate::place::BOTH {
            life(format);
        }
    } else {
        nowhere(&name);
    }
}

/// Whatever the kernel of this machine has.
#[test]
fn a_mapping_lives_in_a_guest_that_has_device_mapper() {
    let guest = Guest::new().with_device_mapper().with_program("losetup");
    in_guest(&guest, || crate::place::BOTH.into_iter().for_each(life));
}

fn nowhere(name: &MappingName) {
    let (place, mine) = (Place::new(), key());
    let target = place.volume(EncryptionFormat::Luks1, &mine);
    let tool = cryptsetup();
    let is_named = |e: CryptsetupError| matches!(e, CryptsetupError::NoDeviceMapper { control } if control == Path::new("/dev/mapper/control"));
    assert!(is_named(
        tool.open(&call(), &target, &mine, name, OpenOptions::new())
            .unwrap_err()
    ));
    assert!(is_named(tool.close(&call(), name).unwrap_err()));
    assert!(is_named(tool.status(&call(), name).unwrap_err()));
    assert!(is_named(
        tool.resize(&call(), name, None, Some(&mine)).unwrap_err()
    ));
}

/// Closes a mapping when a test ends early.
struct Closing<'n>(&'n MappingName);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let _ = cryptsetup().close(&call(), self.0);
    }
}

fn life(format: EncryptionFormat) {
    let (place, mine, other) = (Place::new(), key(), key());
    let device = Loop::on(&place.file("disk", room(format)));
    let target = Target::new(format, device.path()).unwrap();
    let tool = cryptsetup();
    tool.format(&call(), &target, &fresh(), &mine, Overwrite::Nothing)
        .unwrap();
    let name: MappingName = format!("strongroom-test-{}", std::process::id()).parse().unwrap();
    assert_eq!(tool.status(&call(), &name).unwrap(), MappingStatus::Inactive);
    tool.close(&call(), &name).unwrap();
    let wrong = tool.open(&call(), &target, &other, &name, OpenOptions::new());
    assert!(
        matches!(wrong, Err(CryptsetupError::WrongPassphrase { .. })),
        "{wrong:?}"
    );

    let closing = Closing(&name);
    let path = tool
        .open(&call(), &target, &mine, &name, OpenOptions::new())
        .unwrap();
    assert!(path.exists());
    let again = tool.open(&call(), &target, &mine, &name, OpenOptions::new());
    assert!(matches!(again, Err(CryptsetupError::Busy { .. })), "{again:?}");
    let busy = tool.format(&call(), &target, &fresh(), &mine, Overwrite::OurUnfinished);
    assert!(matches!(busy, Err(CryptsetupError::Busy { .. })), "{busy:?}");
    let half = GuestSize::new(2 << 20).unwrap();
    assert_eq!(
        tool.resize(&call(), &name, Some(half), Some(&mine)).unwrap(),
        half
    );
    assert_eq!(
        tool.resize(&call(), &name, None, Some(&mine)).unwrap().get(),
        4 << 20
    );
    tool.close(&call(), &name).unwrap();
    tool.close(&call(), &name).unwrap();

    let options = OpenOptions::new()
        .access(Access::ReadOnly)
        .discards(Discards::Allowed);
    tool.open(&call(), &target, &mine, &name, options).unwrap();
    let MappingStatus::Active(mapping) = tool.status(&call(), &name).unwrap() else {
        panic!("an open mapping is active");
    };
    assert!(mapping.read_only && mapping.discards && !mapping.in_use);
    assert_eq!(mapping.device.as_deref(), Some(device.path()));
    drop(closing);
    assert_eq!(tool.status(&call(), &name).unwrap(), MappingStatus::Inactive);
}
