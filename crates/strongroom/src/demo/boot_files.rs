//! What the guest of the demo boots: Debian's kernel for clouds, and an initial file system that finds its root.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use strongroom_exec::Program;

use super::archive::Archive;

/// The first process: loads the modules, and goes on from the root on the first disk.
const INIT: &str = include_str!("boot_init.sh");

/// Each is loaded after those that it needs.
const MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "ext4"];

const FLAVOUR: &str = "-cloud-amd64";

/// Only a panic is worth a line on the console, where the guest says what it found.
pub(crate) const COMMAND_LINE: &str = "console=ttyS0 loglevel=1 panic=-1 rdinit=/init mitigations=off nowatchdog \
                                       random.trust_cpu=on tsc=reliable no_timer_check";

/// Files for a guest to boot from.
#[derive(Debug)]
pub(crate) struct BootFiles {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
}

/// The program that a guest has for all else.
pub(crate) fn busybox() -> Result<Program> {
    Program::find("busybox").context("the guest's system is busybox: install the package busybox-static")
}

/// The kernel that guests boot.
pub(crate) fn version() -> Result<String> {
    newest(Path::new("/boot"), Path::new("/lib/modules"))
        .context("the guest boots Debian's kernel for clouds: install the package linux-image-cloud-amd64")
}

impl BootFiles {
    /// Makes both in this directory. The kernel is a copy: libvirt gives what it opens to another user.
    pub(crate) fn make(directory: &Path) -> Result<Self> {
        let version = version()?;
        let files = Self {
            kernel: directory.join("kernel"),
            initramfs: directory.join("initramfs"),
        };
        let kernel = Path::new("/boot").join(format!("vmlinuz-{version}"));
        fs::copy(&kernel, &files.kernel).with_context(|| format!("cannot copy {}", kernel.display()))?;
        let archive = initramfs(&Path::new("/lib/modules").join(version))?;
        fs::write(&files.initramfs, archive)?;
        Ok(files)
    }
}

fn initramfs(modules: &Path) -> Result<Vec<u8>> {
    let read = |name: &str| {
        let path = modules.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let order = load_order(&read("modules.dep")?, &read("modules.builtin")?)?;
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "proc", "sys", "new", "modules"] {
        archive.directory(directory)?;
    }
    archive.character_device("dev/console", 5, 1)?;
    archive.file("init", INIT.as_bytes())?;
    archive.file("bin/busybox", &fs::read(busybox()?.path())?)?;
    let mut names = String::new();
    for file in &order {
        let name = file.rsplit('/').next().unwrap_or(file);
        archive.file(&format!("modules/{name}"), &fs::read(modules.join(file))?)?;
        names += &format!("{name}\n");
    }
    archive.file("modules/order", names.as_bytes())?;
    archive.finish()
}

/// The newest version of which there are the kernel and its modules.
fn newest(boot: &Path, modules: &Path) -> Option<String> {
    let numbers = |version: &String| -> Vec<u64> {
        let digits = version.split(|c: char| !c.is_ascii_digit());
        digits.filter_map(|digits| digits.parse().ok()).collect()
    };
    fs::read_dir(modules)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(FLAVOUR) && boot.join(format!("vmlinuz-{name}")).is_file())
        .max_by_key(numbers)
}

/// The files of the modules and of all that they need, in the order in which they load: modules.dep(5) has a file, a colon, and the
/// files that load before it, the last first. A module that is built in needs no file.
fn load_order(dep: &str, builtin: &str) -> Result<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut order = Vec::new();
    for name in MODULES {
        let ends = format!("/{name}.ko");
        if builtin.lines().any(|file| file.ends_with(&ends)) {
            continue;
        }
        let (file, needed) = dep
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(file, _)| file.ends_with(&ends))
            .with_context(|| {
                format!("the kernel has no module {name} that is not compressed; the demo boots Debian's kernel for clouds")
            })?;
        for file in needed.split_whitespace().rev().chain([file]) {
            if seen.insert(file) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_load_after_what_they_need_and_once() {
        let dep = "kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko\n\
                   kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko\n";
        let order = load_order(dep, "kernel/fs/ext4/ext4.ko\n").unwrap();
        assert_eq!(
            order,
            [
                "kernel/drivers/virtio/virtio_ring.ko",
                "kernel/drivers/virtio/virtio.ko",
                "kernel/drivers/virtio/virtio_pci.ko",
                "kernel/drivers/block/virtio_blk.ko",
            ]
        );
        let missing = load_order(dep, "").unwrap_err().to_string();
        assert!(missing.contains("no module ext4"), "{missing}");
    }

    #[test]
    fn the_newest_kernel_that_has_modules_is_taken() {
        let place = tempfile::tempdir().unwrap();
        let (boot, modules) = (place.path().join("boot"), place.path().join("modules"));
        fs::create_dir(&boot).unwrap();
        for version in ["6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64", "6.1.0-11-amd64"] {
            fs::create_dir_all(modules.join(version)).unwrap();
            fs::write(boot.join(format!("vmlinuz-{version}")), "").unwrap();
        }
        fs::write(boot.join("vmlinuz-6.9.0-1-cloud-amd64"), "").unwrap();
        assert_eq!(newest(&boot, &modules).as_deref(), Some("6.1.0-10-cloud-amd64"));
        assert_eq!(newest(&modules, &modules), None);
    }
}
