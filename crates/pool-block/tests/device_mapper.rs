//! In a machine with device-mapper: volumes on a mapping, as hosts have them from LVM and multipath, and opened as mappings.
#![cfg(test)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use strongroom_cryptsetup::{Cryptsetup, OpenOptions, Target};
use strongroom_endpoint_selector::{
    CompareContent, Disk, DiskLocation, Endpoint, HostAnswer, IdentifyDevice, Protection,
    RegisteredEndpoints, Sameness, SourceImage,
};
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_lab::{Guest, disk, in_guest};
use strongroom_pool_block::{BlockPool, DeviceShelf, ShelfDevice};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_storage_pool::{
    CreateVolume, OpContext, PoolDriver, ResizeVolume, Template, VolumeContent, VolumeKey,
};
use strongroom_types::{
    Call, Capability, DeviceSize, DiskFormat, EncryptionFormat, Finding, GuestSize, HostFacts,
};

const MIB: u64 = 1 << 20;

fn dmsetup(words: &[&str]) {
    let dmsetup = Program::find("dmsetup").unwrap();
    let done = SystemRunner::new()
        .run(&CommandSpec::new(dmsetup).args(words), &Watch::nobody())
        .unwrap();
    assert_eq!(done.code, 0, "dmsetup {words:?}: {}", done.message());
}

/// Makes a mapping of so many bytes of a device, from its beginning.
fn map(name: &str, uuid: &str, device: &Path, bytes: u64) -> PathBuf {
    dmsetup(&["create", name, "--uuid", uuid, "--table", &linear(device, bytes)]);
    // Nobody there gives it the name in /dev/mapper.
    let devices = fs::read_dir("/sys/class/block").unwrap();
    let mut mappings = devices.map(|device| device.unwrap().path());
    let found =
        mappings.find(|device| fs::read_to_string(device.join("dm/uuid")).is_ok_and(|u| u.trim() == uuid));
    Path::new("/dev").join(found.unwrap().file_name().unwrap())
}

fn linear(device: &Path, bytes: u64) -> String {
    format!("0 {} linear {} 0", bytes / 512, device.display())
}

fn size(device: &Path) -> u64 {
    use std::io::Seek;
    let mut device = File::open(device).unwrap();
    device.seek(std::io::SeekFrom::End(0)).unwrap()
}

/// Bytes of which each sector is another.
fn pattern(bytes: u64, seed: u64) -> Vec<u8> {
    let word = |i: u64| (i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    (0..bytes / 8).flat_map(word).collect()
}

/// What the host can do, without trying everything in a machine that takes a minute for it.
fn facts() -> HostFacts {
    let mut facts = HostFacts::new("node".parse().unwrap());
    for capability in [Capability::PlainImages, Capability::RawLuks1] {
        let seen = Finding::Works("is done below".to_owned());
        facts.capabilities.record(capability, seen);
    }
    facts
}

#[test]
fn a_mapping_of_a_volume_has_its_exact_size_and_what_qemu_wrote_and_qemu_reads_what_is_written_there() {
    let guest = Guest::new()
        .with_device_mapper()
        .with_program("qemu-img")
        .with_disk("lun-0001", 64 * MIB)
        // A busy machine emulates slowly.
        .with_timeout(Duration::from_secs(600));
    in_guest(&guest, || {
        let agent = HostAgent::new(
            "node".parse().unwrap(),
            ToolPaths::system(),
            Arc::new(SystemRunner::new()),
        );
        agent.reach("disks".parse().unwrap());
        let call = Call::new();
        agent.restore(facts());
        let agent = Arc::new(agent);
        let mut hosts = RegisteredEndpoints::new();
        hosts.register(agent.clone());
        let cx = OpContext::new(&call, &hosts);

        // A logical volume of 24 MiB, which its storage makes larger later.
        let lun = map("lun", "LVM-lun", &disk("lun-0001"), 24 * MIB);
        let identified = agent.run(&call, &IdentifyDevice::new(&lun).into()).unwrap();
        let HostAnswer::Device(facts) = identified else {
            panic!("{identified:?}")
        };
        assert_eq!(
            (facts.size.get(), facts.serial.as_deref()),
            (24 * MIB, Some("LVM-lun"))
        );
        let open = |bytes: u64| {
            let device = ShelfDevice::new(&lun, DeviceSize::new(bytes).unwrap(), Some("LVM-lun".to_owned()));
            BlockPool::new(DeviceShelf::open("disks".parse().unwrap(), "/tmp/shelf", [device]).unwrap())
        };
        let pool = open(24 * MIB);
        pool.prepare(&cx).unwrap();
        let (volume, key) = ("v".parse().unwrap(), Passphrase::generate().unwrap());
        let (small, large) = (16 * MIB + 512, 33 * MIB + 1536);
        let image = Path::new("/tmp/image");
        fs::write(image, pattern(small, 1)).unwrap();
        let content = VolumeContent::Template(Template::unnamed(SourceImage::new(image, DiskFormat::Raw)));
        let asked = GuestSize::new(small).unwrap();
        let secret = VolumeKey::Encrypted(&key);
        let request = CreateVolume::new(&volume, asked, DiskFormat::Raw, secret, content);
        assert_eq!(pool.create(&cx, &request).unwrap().guest, asked);

        // The storage makes the device larger, then the pool the volume.
        dmsetup(&["suspend", "lun"]);
        dmsetup(&["reload", "lun", "--table", &linear(&disk("lun-0001"), 48 * MIB)]);
        dmsetup(&["resume", "lun"]);
        let pool = open(48 * MIB);
        let asked = GuestSize::new(large).unwrap();
        let grown = pool
            .grow(&cx, &ResizeVolume::new(&volume, asked, secret))
            .unwrap();
        assert_eq!((grown.guest, grown.device.get()), (asked, 48 * MIB));

        let attached = pool.attach(&cx, &volume, &"node".parse().unwrap()).unwrap();
        let DiskLocation::Block(device) = &attached.location else {
            panic!("{attached:?}")
        };
        let used = device.used.unwrap().get();
        assert_eq!(used, large + 2 * MIB);

        // As a host opens it that does not hand it to QEMU: so much of the device as the disk has, and a mapping on that.
        let cryptsetup = Cryptsetup::find(Arc::new(SystemRunner::new())).unwrap();
        let exact = map("exact", "view", &lun, used);
        let target = Target::new(EncryptionFormat::Luks1, &exact).unwrap();
        let (name, secret) = ("opened".parse().unwrap(), SecretFile::new(&key).unwrap());
        let opened = cryptsetup
            .open(&call, &target, &secret, &name, OpenOptions::new())
            .unwrap();
        assert_eq!(size(&opened), large);
        let mut read = vec![0; usize::try_from(small).unwrap()];
        let mapping = File::options().read(true).write(true).open(&opened).unwrap();
        mapping.read_exact_at(&mut read, 0).unwrap();
        assert!(
            read == pattern(small, 1),
            "the mapping reads something else than the template"
        );
        mapping.write_all_at(&pattern(large, 2), 0).unwrap();
        mapping.sync_all().unwrap();
        drop(mapping);
        cryptsetup.close(&call, &name).unwrap();
        dmsetup(&["remove", "exact"]);

        fs::write(image, pattern(large, 2)).unwrap();
        let protection = Protection::Luks {
            format: EncryptionFormat::Luks1,
            key: &key,
        };
        let written = Disk::new(&attached.location, DiskFormat::Raw, protection);
        let compare = CompareContent::new(written, SourceImage::new(image, DiskFormat::Raw).into());
        let compared = agent.run(&call, &compare.into()).unwrap();
        assert_eq!(compared, HostAnswer::Compared(Sameness::Identical));

        // Behind the disk the device is as blank as it was.
        let mut behind = vec![1; 4096];
        File::open(&lun)
            .unwrap()
            .read_exact_at(&mut behind, used)
            .unwrap();
        assert!(behind.iter().all(|byte| *byte == 0));
        pool.delete(&cx, &volume).unwrap();
        let mut left = vec![1; usize::try_from(used).unwrap()];
        File::open(&lun).unwrap().read_exact_at(&mut left, 0).unwrap();
        assert!(left.iter().all(|byte| *byte == 0));
    });
}
