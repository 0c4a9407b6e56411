use std::path::Path;

use strongroom_cryptsetup::{CryptsetupError, Overwrite, Target};
use strongroom_exec::{CommandSpec, Completed, Program, Runner, SystemRunner, Watch};
use strongroom_secret::SecretFile;
use strongroom_types::{EncryptionFormat, PayloadOffset};

use crate::place::{Place, call, cryptsetup, fresh, key, on_file_and_loop, room};

/// qemu-img with a key as its secret `sec`.
fn qemu_img(key: &SecretFile, words: impl FnOnce(CommandSpec<'_>) -> CommandSpec<'_>) -> Completed {
    let program =
        Program::find("qemu-img").unwrap_or_else(|e| panic!("{e}; install the Debian package qemu-utils"));
    let mut spec = words(CommandSpec::new(program));
    let path = key.path_in_child(|descriptor| spec.pass(descriptor));
    let spec = spec
        .arg("--object")
        .arg(format!("secret,id=sec,file={}", path.display()));
    // Options may follow operands.
    SystemRunner::new().run(&spec, &Watch::nobody()).unwrap()
}

fn opens_in_qemu(path: &Path, key: &SecretFile) -> Completed {
    let driver = if path.starts_with("/dev") {
        "host_device"
    } else {
        "file"
    };
    let image = format!(
        "driver=luks,file.driver={driver},file.filename={},key-secret=sec",
        path.display()
    );
    qemu_img(key, |spec| {
        spec.args(["measure", "-O", "raw", "--image-opts"]).arg(image)
    })
}

#[test]
fn qemu_opens_what_we_format_with_the_key_and_only_with_it() {
    on_file_and_loop(room(EncryptionFormat::Luks1), |path| {
        let (mine, other) = (key(), key());
        let target = Target::new(EncryptionFormat::Luks1, path).unwrap();
        cryptsetup()
            .format(&call(), &target, &fresh(), &mine, Overwrite::Nothing)
            .unwrap();
        let opened = opens_in_qemu(path, &mine);
        assert_eq!(opened.code, 0, "{}", opened.message());
        let text = String::from_utf8(opened.stdout).unwrap();
        assert!(
            text.contains(&format!("fully allocated size: {}", 4 << 20)),
            "{text}"
        );
        assert_ne!(opens_in_qemu(path, &other).code, 0);
    });
}

#[test]
fn we_open_what_qemu_formats_and_work_on_it() {
    let (place, mine, other) = (Place::new(), key(), key());
    let path = place.path("made by qemu");
    let made = qemu_img(&mine, |spec| {
        spec.args(["create", "-q", "-f", "luks", "-o", "key-secret=sec,iter-time=10"])
            .arg(&path)
            .arg("4M")
    });
    assert_eq!(made.code, 0, "{}", made.message());
    let target = Target::new(EncryptionFormat::Luks1, &path).unwrap();
    let tool = cryptsetup();
    let header = tool.header(&call(), &target).unwrap();
    assert_eq!(header.payload_offset, PayloadOffset::LUKS1_QEMU);
    assert_eq!(
        (header.cipher.as_str(), header.key_bits),
        ("aes-xts-plain64", Some(512))
    );
    tool.test_passphrase(&call(), &target, &mine).unwrap();
    let wrong = tool.test_passphrase(&call(), &target, &other);
    assert!(matches!(wrong, Err(CryptsetupError::WrongPassphrase { .. })));

    let backup = tool
        .back_up_header(&call(), &target, place.path("backup"))
        .unwrap();
    let safe = strongroom_cryptsetup::Precaution::Backup(&backup);
    tool.change_key(&call(), &target, &mine, &other, crate::place::cheap(), safe)
        .unwrap();
    assert_eq!(opens_in_qemu(&path, &other).code, 0);
    assert_ne!(opens_in_qemu(&path, &mine).code, 0);
    tool.erase(&call(), &target, header.uuid).unwrap();
    assert_ne!(opens_in_qemu(&path, &other).code, 0);
    let onto = strongroom_cryptsetup::RestoreOnto::SameVolume;
    tool.restore_header(&call(), &backup, &target, &mine, onto)
        .unwrap();
    assert_eq!(opens_in_qemu(&path, &mine).code, 0);
}
