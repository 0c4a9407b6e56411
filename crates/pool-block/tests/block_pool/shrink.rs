//! Volumes that become smaller on devices that do not.

use std::fs;

use strongroom_endpoint_selector::SourceImage;
use strongroom_pool_block::ErrorKind;
use strongroom_storage_pool::{Template, VolumeContent, VolumeKey};
use strongroom_types::DiskFormat;

use crate::fuse::End;
use crate::machine::{Machine, disk};
use crate::site::{MIB, Memory, guest, refused};

const RAW: DiskFormat = DiskFormat::Raw;

#[test]
fn what_is_behind_the_new_end_is_gone_from_the_device_and_the_rest_opens() {
    let machine = Machine::new(&[32 * MIB, 33 * MIB]);
    let site = machine.site();
    let image = machine.image("image", 1, 20 * MIB);
    let content = || VolumeContent::Template(Template::unnamed(SourceImage::new(&image, RAW)));
    site.create("plain", 20 * MIB, RAW, VolumeKey::Plain, content())
        .unwrap();
    site.create("secret", 20 * MIB, RAW, site.encrypted(), content())
        .unwrap();
    let to = 7 * MIB + 512;
    let kept = machine.place.path().join("kept");
    fs::write(&kept, &fs::read(&image).unwrap()[..to as usize]).unwrap();
    for (name, number, header) in [("plain", 0, 0), ("secret", 1, 2 * MIB)] {
        let key = if header == 0 {
            VolumeKey::Plain
        } else {
            site.encrypted()
        };
        machine.loops[number].write(header + 20 * MIB, b"somebody's");
        let shrunk = site.shrink(name, to, key).unwrap();
        assert_eq!(
            (shrunk.guest, shrunk.device.get()),
            (guest(to), (32 + number as u64) * MIB)
        );
        let location = site.location(name);
        let of = disk(&location, RAW, (header > 0).then_some(&site.key));
        machine.verify(of);
        assert!(machine.holds(of, &kept), "{name}");
        let behind = machine.loops[number].read(header + to, (20 * MIB - to) as usize);
        assert!(behind.iter().all(|byte| *byte == 0), "{name}");
        assert_eq!(machine.loops[number].read(header + 20 * MIB, 10), b"somebody's");
        refused(
            site.shrink(name, 20 * MIB, key),
            ErrorKind::InvalidRequest,
            &["made smaller"],
        );
        assert_eq!(site.grow(name, 20 * MIB, key).unwrap().guest, guest(20 * MIB));
    }
}

#[test]
fn a_shrinking_that_is_cut_off_at_any_step_leaves_the_old_size_or_the_new_one_and_is_finished_by_the_same() {
    for format in [RAW, DiskFormat::Qcow2] {
        for end in End::ALL {
            let mut step = 0;
            loop {
                let memory = Memory::new(&[64 * MIB]);
                let site = memory.site();
                site.create("v", 16 * MIB, format, site.encrypted(), VolumeContent::Blank)
                    .unwrap();
                site.fuse.arm(step, end);
                let first = site.shrink("v", 8 * MIB, site.encrypted());
                let blown = site.fuse.disarm();
                assert!(first.is_ok() || blown, "{first:?}");
                let there = site.get("v").unwrap().unwrap().guest;
                assert!(
                    [guest(16 * MIB), guest(8 * MIB)].contains(&there),
                    "{format} {step}: {there:?}"
                );
                assert_eq!(
                    site.shrink("v", 8 * MIB, site.encrypted()).unwrap().guest,
                    guest(8 * MIB)
                );
                assert_eq!(site.get("v").unwrap().unwrap().guest, guest(8 * MIB));
                if !blown {
                    break;
                }
                step += 1;
            }
            assert!(step > 5, "the fuse was at {step} steps only");
        }
    }
}
