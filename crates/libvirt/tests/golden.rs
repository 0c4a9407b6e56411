//! What is told to libvirt, byte for byte, and checked against libvirt's own schema.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_libvirt::xml::Element;
use strongroom_libvirt::{
    Accelerator, Boot, Cache, Domain, DomainDisk, Image, Refusal, SecretName, Serial, Source,
};
use strongroom_types::DiskFormat::{Qcow2, Raw};
use strongroom_types::{ByteSize, DiskFormat};
use uuid::Uuid;

fn secret(number: u128) -> Uuid {
    Uuid::from_u128(0xaaaa_0000_0000_8000_8000_0000_0000_0000 + number)
}

fn file(path: &str) -> Source {
    Source::File(path.into())
}

fn domain(boot: Boot) -> Domain {
    Domain::new(
        &"vm-1".parse().unwrap(),
        Accelerator::Emulation,
        ByteSize::mib(256),
        2,
        boot,
    )
}

fn disk(target: &str, image: Image) -> DomainDisk {
    DomainDisk::new(target.parse().unwrap(), image)
}

fn kernel(command_line: &str) -> Boot {
    Boot::Kernel {
        kernel: "/boot/vmlinuz".into(),
        initramfs: None,
        command_line: command_line.into(),
    }
}

/// Compares with the file of this name. A file that is not there is written, and the test fails that once.
fn golden(name: &str, element: &Element, schema: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    let xml = element.to_xml().unwrap();
    if !path.exists() {
        fs::write(&path, &xml).unwrap();
        panic!("{} was not there and is written: look at it", path.display());
    }
    assert_eq!(xml, fs::read_to_string(&path).unwrap(), "{}", path.display());
    assert_eq!(Element::parse(&xml).unwrap(), *element);
    valid(&path, schema);
}

fn valid(path: &Path, schema: &str) {
    let validate =
        Program::find("virt-xml-validate").expect("virt-xml-validate, of Debian's package libvirt-clients");
    let command = CommandSpec::new(validate).arg(path).arg(schema);
    let done = SystemRunner::new().run(&command, &Watch::nobody()).unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.code, 0, "{said}{}", done.message());
}

#[test]
fn a_domain_with_one_encrypted_disk() {
    let domain = domain(Boot::Disk).with_disks([disk(
        "vda",
        Image::encrypted(file("/pool/a.qcow2"), Qcow2, secret(1)),
    )]);
    golden("one-disk.xml", &domain.to_element().unwrap(), "domain");
}

#[test]
fn a_domain_without_disks_that_boots_a_kernel() {
    golden("kernel.xml", &domain(kernel("")).to_element().unwrap(), "domain");
}

#[test]
fn a_domain_with_all_that_can_be_said() {
    let raw = Image::encrypted(Source::Block("/dev/disk/by-id/wwn-1".into()), Raw, secret(2));
    let template = Image::plain(file("/pool/template.qcow2"), Qcow2);
    let chain = [
        Image::encrypted(file("/pool/middle.qcow2"), Qcow2, secret(4)),
        Image::encrypted(file("/pool/base.luks"), Raw, secret(5)),
    ];
    let boot = Boot::Kernel {
        kernel: "/boot/vmlinuz".into(),
        initramfs: Some("/boot/initrd.img".into()),
        command_line: "console=ttyS0 root=/dev/vda".into(),
    };
    let mut domain = domain(boot)
        .with_disks([
            disk("vda", Image::encrypted(file("/pool/a.qcow2"), Qcow2, secret(1)))
                .on([template])
                .with_discard(true),
            disk("vdb", raw)
                .with_serial("vol-2".parse().unwrap())
                .with_cache(Cache::None),
            disk("vdc", Image::encrypted(file("/pool/top.qcow2"), Qcow2, secret(3)))
                .on(chain)
                .with_cache(Cache::Writethrough),
            disk("vdaa", Image::plain(Source::Block("/dev/loop7".into()), Raw))
                .read_only()
                .with_cache(Cache::Writeback),
        ])
        .with_serial(Serial::Socket("/run/vm-1.console".into()))
        .with_agent();
    domain.accelerator = Accelerator::Kvm;
    domain.emulator = Some("/usr/bin/qemu-system-x86_64".into());
    domain.machine = "q35".into();
    golden("everything.xml", &domain.to_element().unwrap(), "domain");
}

#[test]
fn serial_ports_of_each_kind() {
    golden(
        "pty.xml",
        &domain(kernel("quiet"))
            .with_serial(Serial::Pty)
            .to_element()
            .unwrap(),
        "domain",
    );
    let log = Serial::Log("/var/log/vm-1.console".into());
    golden(
        "log.xml",
        &domain(kernel("quiet")).with_serial(log).to_element().unwrap(),
        "domain",
    );
}

#[test]
fn a_secret() {
    let name = SecretName::new(&"vol-1".parse().unwrap(), &"pp-1".parse().unwrap());
    golden("secret.xml", &name.to_element(), "secret");
}

#[test]
fn hostile_paths_and_words_stay_what_they_are() {
    let hostile = "/pool/a'\"<b>&amp;,é \u{1f511}/]]>/--><disk.qcow2";
    let domain = domain(kernel("a='<&>\" ]]> é")).with_disks([disk(
        "vda",
        Image::encrypted(file(hostile), Qcow2, secret(1)),
    )
    .on([Image::plain(file(hostile), Raw)])]);
    golden("hostile.xml", &domain.to_element().unwrap(), "domain");
}

#[test]
fn what_cannot_be_said_is_refused() {
    let with = |path: &str, format: DiskFormat| {
        let domain = domain(Boot::Disk).with_disks([disk("vda", Image::plain(file(path), format))]);
        domain.to_element().and_then(|element| element.to_xml())
    };
    assert_eq!(with("/pool/a\nb", Raw), Err(Refusal::Character('\n')));
    assert_eq!(with("/pool/a\0", Raw), Err(Refusal::Character('\0')));
    assert_eq!(with("pool/a", Qcow2), Err(Refusal::RelativePath("pool/a".into())));

    let twice = ["vda", "vdb", "vda"].map(|target| disk(target, Image::plain(file("/a"), Raw)));
    assert_eq!(
        domain(Boot::Disk).with_disks(twice).to_element(),
        Err(Refusal::TargetTwice("vda".into()))
    );
    assert_eq!(domain(Boot::Disk).to_element(), Err(Refusal::NothingToBoot));
    let mut none = domain(kernel(""));
    none.cores = 0;
    assert_eq!(none.to_element(), Err(Refusal::NoMachine));
    none.cores = 1;
    none.memory = ByteSize::kib(1023);
    assert_eq!(none.to_element(), Err(Refusal::NoMachine));
    let lines = domain(kernel("a\nb")).to_element().unwrap();
    assert_eq!(lines.to_xml(), Err(Refusal::Character('\n')));
}
