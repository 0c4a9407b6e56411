use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::GuestError;

/// Debian's kernel for clouds, newest first, and its modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// The kernel itself.
    pub(crate) image: PathBuf,
    /// The directory that its modules are in.
    pub(crate) modules: PathBuf,
}

const FLAVOUR: &str = "-cloud-amd64";

impl Kernel {
    /// The newest that is installed with its modules.
    pub(crate) fn newest() -> Result<Self, GuestError> {
        Self::newest_in(Path::new("/boot"), Path::new("/lib/modules"))
    }

    fn newest_in(boot: &Path, modules: &Path) -> Result<Self, GuestError> {
        let mut versions: Vec<String> = fs::read_dir(modules)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(FLAVOUR) && boot.join(format!("vmlinuz-{name}")).is_file())
            .collect();
        versions.sort_by_key(|version| numbers(version));
        let version = versions.pop().ok_or(GuestError::NoKernel)?;
        Ok(Self {
            image: boot.join(format!("vmlinuz-{version}")),
            modules: modules.join(version),
        })
    }

    /// The files of these modules and of all that they need, in the order in which they load, below the directory of modules.
    /// A module that is built in needs no file.
    pub(crate) fn load_order(&self, wanted: &[&str]) -> Result<Vec<String>, GuestError> {
        let read = |name: &str| {
            let path = self.modules.join(name);
            fs::read_to_string(&path).map_err(|source| GuestError::io("read", &path, source))
        };
        load_order(&read("modules.dep")?, &read("modules.builtin")?, wanted)
    }
}

/// The numbers of a version, so that 6.1.0-10 is newer than 6.1.0-9.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Reads `modules.dep`, modules.dep(5): a file, a colon, and the files that load before it, the last first.
fn load_order(dep: &str, builtin: &str, wanted: &[&str]) -> Result<Vec<String>, GuestError> {
    let mut seen = BTreeSet::new();
    let mut order = Vec::new();
    for name in wanted {
        let line = dep
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(file, _)| is_module(file, name));
        let Some((file, needed)) = line else {
            if builtin.lines().any(|file| is_module(file, name)) {
                continue;
            }
            return Err(GuestError::NoModule {
                name: (*name).to_owned(),
            });
        };
        for file in needed.split_whitespace().rev().chain([file]) {
            if seen.insert(file.to_owned()) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

/// Whether the file is the module of that name, in which `-` and `_` are the same.
fn is_module(file: &str, name: &str) -> bool {
    let stem = file.rsplit('/').next().and_then(|f| f.strip_suffix(".ko"));
    stem.is_some_and(|stem| stem.replace('-', "_") == name.replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/fs/nfs/nfs.ko: kernel/fs/lockd.ko kernel/net/sunrpc.ko\n\
                       kernel/fs/lockd.ko: kernel/net/sunrpc.ko\nkernel/net/sunrpc.ko:\nkernel/md/dm-crypt.ko: kernel/md/dm-mod.ko\n";

    #[test]
    fn modules_load_after_what_they_need_and_once() {
        let order = load_order(
            DEP,
            "kernel/fs/ext4/ext4.ko\n",
            &["lockd", "nfs", "ext4", "dm_crypt"],
        );
        assert_eq!(
            order.unwrap(),
            [
                "kernel/net/sunrpc.ko",
                "kernel/fs/lockd.ko",
                "kernel/fs/nfs/nfs.ko",
                "kernel/md/dm-mod.ko",
                "kernel/md/dm-crypt.ko",
            ]
        );
    }

    #[test]
    fn a_module_that_the_kernel_lacks_is_named() {
        let error = load_order(DEP, "", &["ext4"]).unwrap_err();
        assert!(
            matches!(error, GuestError::NoModule { ref name } if name == "ext4"),
            "{error}"
        );
    }

    #[test]
    fn the_newest_kernel_that_has_modules_is_taken() {
        let place = tempfile::tempdir().unwrap();
        let (boot, modules) = (place.path().join("boot"), place.path().join("modules"));
        fs::create_dir_all(&boot).unwrap();
        for version in ["6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64", "6.1.0-11-amd64"] {
            fs::create_dir_all(modules.join(version)).unwrap();
            fs::write(boot.join(format!("vmlinuz-{version}")), "").unwrap();
        }
        fs::write(boot.join("vmlinuz-6.9.0-1-cloud-amd64"), "").unwrap();
        let newest = Kernel::newest_in(&boot, &modules).unwrap();
        assert_eq!(newest.image, boot.join("vmlinuz-6.1.0-10-cloud-amd64"));
        assert_eq!(newest.modules, modules.join("6.1.0-10-cloud-amd64"));
        let none = Kernel::newest_in(&boot, &boot).unwrap_err();
        assert!(none.to_string().contains("linux-image-cloud-amd64"), "{none}");
    }
}
