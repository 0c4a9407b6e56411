//! Sizes that a format or a file system cannot hold.

use strongroom_endpoint_selector::{CreateDisk, Disk, DiskContent, ErrorKind, GrowDisk, Protection};
use strongroom_types::DiskFormat;

use crate::bench::{Bench, size};
use crate::full_disk::Small;

/// 2 PiB.
const LARGEST_QCOW2: u64 = 1 << 51;

#[test]
fn the_largest_qcow2_is_made_and_a_larger_one_is_refused_with_that_size() {
    let bench = Bench::new();
    for protection in [Protection::Plain, bench.luks()] {
        let made = bench
            .create("disk", DiskFormat::Qcow2, LARGEST_QCOW2, protection)
            .unwrap();
        assert_eq!(made.guest, size(LARGEST_QCOW2));
        std::fs::remove_file(bench.path("disk")).unwrap();
        for guest in [LARGEST_QCOW2 + 512, 1 << 56, (1 << 63) - 512] {
            let refused = bench
                .create("disk", DiskFormat::Qcow2, guest, protection)
                .unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
            assert!(
                refused.message().contains(&LARGEST_QCOW2.to_string()),
                "{refused}"
            );
        }
        assert_eq!(bench.names(), Vec::<String>::new());
        bench
            .create("disk", DiskFormat::Qcow2, 1 << 20, protection)
            .unwrap();
        let location = bench.at("disk");
        let disk = Disk::new(&location, DiskFormat::Qcow2, protection);
        let refused = bench
            .run(GrowDisk::new(disk, size(LARGEST_QCOW2 + 512)))
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
        assert!(
            refused.message().contains(&LARGEST_QCOW2.to_string()),
            "{refused}"
        );
        std::fs::remove_file(location.path()).unwrap();
    }
}

#[test]
fn a_raw_disk_that_its_file_system_cannot_hold_is_refused_by_its_own_name() {
    let bench = Bench::new();
    let small = Small::ext4(&bench);
    let path = small.0.join("disk");
    for protection in [Protection::Plain, bench.luks()] {
        let create = CreateDisk::new(
            &path,
            DiskFormat::Raw,
            size(1 << 45),
            protection,
            DiskContent::Blank,
        );
        let refused = bench.run(create).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
        let text = refused.message();
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        assert!(!text.contains("staging"), "{text}");
        assert_eq!(small.names(), ["lost+found"]);
    }
}
