use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};

use crate::kernel::Kernel;
use crate::root::Root;
use crate::{GuestError, libraries};

/// How long a guest may run unless it is said otherwise.
const TIMEOUT: Duration = Duration::from_secs(180);

/// How much memory it has unless it is said otherwise, in MiB. Its root lies in it, once packed and once unpacked.
const MEMORY: u32 = 768;

/// What every guest needs: its disks.
const MODULES: [&str; 2] = ["virtio_pci", "virtio_blk"];

/// What a guest is to have, for a test that is to run in it.
///
/// It has one processor, no network but its own loopback, busybox for all programs that are not named, and a root in
/// memory.
#[derive(Debug, Clone)]
pub struct Guest {
    /// By name, with the Debian package that has it.
    programs: BTreeMap<String, &'static str>,
    files: BTreeSet<PathBuf>,
    modules: Vec<String>,
    disks: BTreeMap<String, u64>,
    order: Vec<String>,
    memory: u32,
    timeout: Duration,
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

impl Guest {
    /// A guest with busybox and the test itself.
    #[must_use]
    pub fn new() -> Self {
        Self {
            programs: BTreeMap::new(),
            files: BTreeSet::new(),
            modules: MODULES.map(str::to_owned).to_vec(),
            disks: BTreeMap::new(),
            order: Vec::new(),
            memory: MEMORY,
            timeout: TIMEOUT,
        }
    }

    /// The same with a program of this machine, by its name, and the shared libraries that it needs. It lies at the same
    /// path in the guest. Looked for where [`Program::find`] looks.
    #[must_use]
    pub fn with_program(self, name: &str) -> Self {
        self.with_packaged(name, "the package that has it")
    }

    pub(crate) fn with_packaged(mut self, name: &str, package: &'static str) -> Self {
        self.programs.insert(name.to_owned(), package);
        self
    }

    /// The same with more programs.
    #[must_use]
    pub fn with_programs<'n>(self, names: impl IntoIterator<Item = &'n str>) -> Self {
        names.into_iter().fold(self, Self::with_program)
    }

    /// The same with a file of this machine, by its absolute path, which is its path in the guest too. When it is a library
    /// or a program, with the libraries that it needs.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.insert(path.into());
        self
    }

    /// The same with modules of the kernel, loaded before the test begins, after those that they need. One that is built
    /// in is there anyway. Nothing in the guest loads modules later: name all that the test needs.
    #[must_use]
    pub fn with_modules<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.modules.extend(names.into_iter().map(str::to_owned));
        self
    }

    /// The same with one more blank disk of so many bytes, a multiple of 512. The first is `/dev/vdb`, the next `/dev/vdc`
    /// and so on; [`disk`](crate::disk) says a path by serial number.
    ///
    /// It is a sparse file without a name on this machine, in the directory for temporary files, and gone with the guest.
    #[must_use]
    pub fn with_disk(mut self, serial: &str, bytes: u64) -> Self {
        self.disks.insert(serial.to_owned(), bytes);
        self.order.push(serial.to_owned());
        self
    }

    /// The same with so much memory, in MiB. 768 unless it is said otherwise.
    #[must_use]
    pub fn with_memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// The same with so much time from the power switch to the end. Three minutes unless it is said otherwise.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same with what cryptsetup and dmsetup need to make mappings: both programs, and device-mapper with dm-crypt and
    /// AES-XTS.
    #[must_use]
    pub fn with_device_mapper(self) -> Self {
        self.with_programs(["cryptsetup", "dmsetup"]).with_modules([
            "dm-mod",
            "dm-crypt",
            "xts",
            "ecb",
            "loop",
            "algif_skcipher",
        ])
    }

    pub(crate) fn memory(&self) -> u32 {
        self.memory
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Serial numbers and bytes, in the order of `/dev/vdb`, `/dev/vdc`..
    pub(crate) fn disks(&self) -> Result<Vec<(&str, u64)>, GuestError> {
        let sound = |serial: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            // virtio-blk has 20 bytes for it (VIRTIO_BLK_ID_BYTES).
            (1..=20).contains(&serial.len()) && serial.chars().all(known)
        };
        match self.order.iter().find(|serial| !sound(serial)) {
            Some(serial) => {
                return Err(GuestError::Serial {
                    serial: serial.clone(),
                });
            }
            None if self.order.len() != self.disks.len() => {
                let twice = self
                    .order
                    .iter()
                    .enumerate()
                    .find(|(n, s)| self.order[..*n].contains(s));
                let serial = twice.map(|(_, serial)| serial.clone()).unwrap_or_default();
                return Err(GuestError::Serial { serial });
            }
            None => {}
        }
        Ok(self
            .order
            .iter()
            .filter_map(|serial| Some((serial.as_str(), *self.disks.get(serial)?)))
            .collect())
    }

    /// The root of the guest for this test program.
    pub(crate) fn root(&self, kernel: &Kernel, test: &Path) -> Result<Root, GuestError> {
        let mut root = Root::new();
        let mut with_libraries = |path: &Path| -> Result<(), GuestError> {
            root.file(path)?;
            libraries::of(path)?
                .iter()
                .try_for_each(|library| root.file(library))
        };
        for (name, package) in &self.programs {
            with_libraries(program(name, package)?.path())?;
        }
        for path in &self.files {
            with_libraries(path)?;
        }
        for library in libraries::of(test)? {
            root.file(&library)?;
        }

        let wanted: Vec<&str> = self.modules.iter().map(String::as_str).collect();
        add_modules(&mut root, kernel, &wanted)?;
        add_busybox(&mut root, |applet| self.programs.contains_key(applet))?;
        Ok(root)
    }
}

/// Adds the files of these modules, and a list in the order in which they load.
pub(crate) fn add_modules(root: &mut Root, kernel: &Kernel, wanted: &[&str]) -> Result<(), GuestError> {
    let order = kernel.load_order(wanted)?;
    for module in &order {
        root.file_at(
            &kernel.modules.join(module),
            &format!("/usr/lib/modules/{module}"),
        )?;
    }
    root.text("/lab/modules", 0o644, &(order.join("\n") + "\n"));
    Ok(())
}

/// Adds busybox under the names of its programs but those.
pub(crate) fn add_busybox(root: &mut Root, but: impl Fn(&str) -> bool) -> Result<(), GuestError> {
    let busybox = program("busybox", "busybox-static")?;
    root.file_at(busybox.path(), "/usr/bin/busybox")?;
    for applet in applets(&busybox)? {
        if !but(&applet) {
            root.link(format!("/usr/bin/{applet}"), "busybox");
        }
    }
    Ok(())
}

/// A program of this machine, or which package brings it.
pub(crate) fn program(name: &str, package: &'static str) -> Result<Program, GuestError> {
    Program::find(name).map_err(|source| GuestError::Tool { package, source })
}

/// The programs that busybox can be.
fn applets(busybox: &Program) -> Result<Vec<String>, GuestError> {
    let listed = SystemRunner::new()
        .run(&CommandSpec::new(busybox.clone()).arg("--list"), &Watch::nobody())
        .map_err(|source| GuestError::Run { source })?;
    let text = String::from_utf8_lossy(&listed.stdout);
    Ok(text
        .lines()
        .filter(|name| *name != "busybox")
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_fits_a_disk_and_one_disk_only() {
        let two = Guest::new().with_disk("b", 512).with_disk("a", 1024);
        assert_eq!(two.disks().unwrap(), [("b", 512), ("a", 1024)]);
        for bad in ["", "a b", "a,b", "123456789012345678901", "é"] {
            let error = Guest::new().with_disk(bad, 512).disks().unwrap_err();
            assert!(
                matches!(&error, GuestError::Serial { serial } if serial == bad),
                "{error}"
            );
        }
        let error = two.with_disk("a", 512).disks().unwrap_err();
        assert!(
            matches!(&error, GuestError::Serial { serial } if serial == "a"),
            "{error}"
        );
    }
}
