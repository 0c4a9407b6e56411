use strongroom_exec::{CommandSpec, Program};
use strongroom_lab::find_in;
use strongroom_libvirt::Source;
use strongroom_secret::SecretFile;
use strongroom_types::DiskFormat;
use tempfile::NamedTempFile;

use crate::world::{Volume, run};

/// What a chain of images holds for who has the keys, from the uppermost to the lowest. It may be in use.
pub(crate) fn content(chain: &[&Volume]) -> NamedTempFile {
    let keys: Vec<SecretFile> = chain.iter().map(|v| SecretFile::new(&v.key).unwrap()).collect();
    let mut convert =
        CommandSpec::new(Program::find("qemu-img").unwrap()).args(["convert", "-U", "-O", "raw"]);
    let (mut options, mut layer) = (Vec::new(), String::new());
    for (number, (volume, key)) in chain.iter().zip(&keys).enumerate() {
        let path = key.path_in_child(|descriptor| convert.pass(descriptor));
        let object = format!("secret,id=s{number},file={}", path.display());
        convert = convert.args(["--object".to_owned(), object]);
        let (driver, secret) = match volume.image.format() {
            DiskFormat::Qcow2 => ("qcow2", "encrypt.key-secret"),
            DiskFormat::Raw => ("luks", "key-secret"),
        };
        let file = match volume.image.source() {
            Source::Block(device) => format!(
                "{layer}file.driver=host_device,{layer}file.filename={}",
                device.display()
            ),
            _ => format!("{layer}file.filename={}", volume.file.display()),
        };
        options.push(format!("{layer}driver={driver},{layer}{secret}=s{number},{file}"));
        layer.push_str("backing.");
    }
    let raw = NamedTempFile::new().unwrap();
    run(&convert
        .args(["--image-opts".to_owned(), options.join(",")])
        .arg(raw.path().as_os_str()));
    raw
}

/// Fills an encrypted qcow2 that nobody uses from its begin: a MiB of the canary, and then noise.
pub(crate) fn fill(volume: &Volume, mebibytes: u32, canary: &str) {
    let text = NamedTempFile::new().unwrap();
    std::fs::write(
        text.path(),
        format!("{canary}\n").repeat((1 << 20) / (canary.len() + 1)),
    )
    .unwrap();
    let key = SecretFile::new(&volume.key).unwrap();
    let mut write = CommandSpec::new(Program::find("qemu-io").unwrap());
    let path = key.path_in_child(|descriptor| write.pass(descriptor));
    run(&write
        .args([
            "--object".to_owned(),
            format!("secret,id=s,file={}", path.display()),
        ])
        .args(["-c".to_owned(), format!("write -P 0xa5 0 {mebibytes}M")])
        .args([
            "-c".to_owned(),
            format!("write -s {} 0 1M", text.path().display()),
        ])
        .args([
            "--image-opts".to_owned(),
            format!(
                "driver=qcow2,encrypt.key-secret=s,file.filename={}",
                volume.file.display()
            ),
        ]));
}

/// The canary is in what the keys open, and nowhere in the files themselves.
pub(crate) fn holds_encrypted(chain: &[&Volume], canary: &str) {
    let clear = content(chain);
    assert!(
        !find_in([clear.path()], canary).unwrap().is_empty(),
        "{canary}: the keys open it"
    );
    for volume in chain {
        assert_eq!(find_in([&volume.file], canary).unwrap(), [], "{canary}");
    }
}

/// The canary is not in what the keys open.
pub(crate) fn lacks(chain: &[&Volume], canary: &str) {
    let clear = content(chain);
    assert_eq!(find_in([clear.path()], canary).unwrap(), [], "{canary}");
}
