//! Which Debian package brings what the binary, the tests and the builds need.

use std::path::{Path, PathBuf};

/// Where programs are looked for: the same directories, in the same order, as `strongroom-exec` looks. `PATH` of an
/// ordinary user lacks the `sbin` ones.
pub(crate) const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// One package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    /// By what it is seen to be there: a program's name, or the absolute path of a file.
    pub(crate) brings: &'static [&'static str],
    pub(crate) what_for: &'static str,
}

/// Everything that a Debian 12 machine with only Rust may lack.
#[rustfmt::skip]
pub(crate) const PACKAGES: &[Package] = &[
    Package { name: "qemu-utils",     brings: &["qemu-img", "qemu-io", "qemu-storage-daemon"], what_for: "makes, copies and resizes encrypted disks, and opens files for the memory of guests" },
    Package { name: "cryptsetup-bin", brings: &["cryptsetup"],                 what_for: "formats and opens raw LUKS disks" },
    Package { name: "e2fsprogs",      brings: &["mkfs.ext4", "filefrag"],      what_for: "makes a file system for the demo's template, and looks at holes" },
    Package { name: "util-linux",     brings: &["setpriv", "addpart", "unshare", "nsenter", "setsid"], what_for: "runs tests as an ordinary user, makes partitions and the lab's hosts" },
    Package { name: "mount",          brings: &["losetup", "mount", "umount"], what_for: "gives tests loop devices and full disks" },
    Package { name: "dmsetup",        brings: &["dmsetup"],                    what_for: "looks at mappings in the guests of the lab" },
    Package { name: "qemu-system-x86", brings: &["qemu-system-x86_64"],        what_for: "runs the guests of the lab" },
    Package { name: "linux-image-cloud-amd64", brings: &["/usr/share/doc/linux-image-cloud-amd64"], what_for: "is the kernel of the lab's guests" },
    Package { name: "busybox-static", brings: &["busybox"],                    what_for: "is the system of the lab's guests" },
    Package { name: "nfs-common",     brings: &["mount.nfs"],                  what_for: "mounts NFS in the lab's guests" },
    Package { name: "nfs-ganesha",    brings: &["ganesha.nfsd"],               what_for: "is the NFS server in the lab's guests" },
    Package { name: "nfs-ganesha-vfs", brings: &["/usr/lib/x86_64-linux-gnu/ganesha/libfsalvfs.so"], what_for: "lets that server export a directory" },
    Package { name: "libvirt-daemon-system", brings: &["/usr/share/doc/libvirt-daemon-system"], what_for: "has libvirt's own parts for the lab's hypervisors" },
    Package { name: "libvirt-daemon", brings: &["libvirtd"],                   what_for: "runs virtual machines on the lab's hypervisors" },
    Package { name: "libvirt-daemon-driver-qemu", brings: &["/usr/lib/x86_64-linux-gnu/libvirt/connection-driver/libvirt_driver_qemu.so"], what_for: "lets libvirt run QEMU" },
    Package { name: "libvirt-clients", brings: &["virsh", "virt-xml-validate"], what_for: "talks to libvirt, and checks its XML" },
    Package { name: "gnutls-bin",     brings: &["certtool"],                   what_for: "makes certificates for the lab's hypervisors" },
    Package { name: "iproute2",       brings: &["ip"],                         what_for: "joins the lab's hypervisors by a network" },
    Package { name: "tcpdump",        brings: &["tcpdump"],                    what_for: "shows that a migration is ciphertext on the wire" },
    Package { name: "gcc",            brings: &["gcc"],                        what_for: "compiles SQLite and links" },
    Package { name: "libc6-dev",      brings: &["/usr/include/stdio.h"],       what_for: "has the headers that SQLite is compiled with" },
];

/// Services by the package with which Debian starts them; some come with packages that it depends on.
const SERVICES: &[(&str, &[&str])] = &[
    (
        "nfs-ganesha",
        &["nfs-ganesha.service", "rpcbind.service", "rpcbind.socket"],
    ),
    (
        "libvirt-daemon-system",
        &[
            "libvirtd.service",
            "libvirtd.socket",
            "libvirtd-ro.socket",
            "libvirtd-admin.socket",
            "virtlogd.service",
            "virtlogd.socket",
            "virtlogd-admin.socket",
            "virtlockd.service",
            "virtlockd.socket",
            "virtlockd-admin.socket",
            "libvirt-guests.service",
        ],
    ),
];

/// The services that Debian starts with a package, or with one that it depends on, and whose program is only wanted in the lab.
pub(crate) fn services(of: &[Package]) -> impl Iterator<Item = &'static str> {
    let wanted = |name: &str| of.iter().any(|package| package.name == name);
    SERVICES
        .iter()
        .filter(move |(package, _)| wanted(package))
        .flat_map(|(_, units)| units.iter().copied())
}

/// Programs that need no package: those that tests start come with packages that no Debian is without.
pub(crate) const ESSENTIAL: &[&str] = &[
    "bash",
    "cat",
    "chmod",
    "cp",
    "dd",
    "echo",
    "env",
    "false",
    "grep",
    "head",
    "id",
    "kill",
    "ln",
    "ls",
    "mkfifo",
    "printf",
    "readlink",
    "rm",
    "sh",
    "sha256sum",
    "sleep",
    "stat",
    "timeout",
    "touch",
    "tr",
    "true",
    "yes",
];

impl Package {
    /// What it should have brought and is not there, as `exists` sees the file system.
    pub(crate) fn absent(&self, exists: &dyn Fn(&Path) -> bool) -> Vec<&'static str> {
        self.brings
            .iter()
            .copied()
            .filter(|thing| !places(thing).iter().any(|p| exists(p)))
            .collect()
    }

    /// Whether this list of files, as `dpkg-query --listfiles` prints it, has everything it is said to bring.
    pub(crate) fn not_shipped(&self, files: &str) -> Vec<&'static str> {
        let ships = |thing: &&str| {
            places(thing)
                .iter()
                .any(|p| files.lines().any(|f| Path::new(f) == p))
        };
        self.brings
            .iter()
            .copied()
            .filter(|thing| !ships(thing))
            .collect()
    }
}

/// The packages of which something is not there.
pub(crate) fn missing(exists: &dyn Fn(&Path) -> bool) -> Vec<(Package, Vec<&'static str>)> {
    PACKAGES
        .iter()
        .map(|p| (*p, p.absent(exists)))
        .filter(|(_, absent)| !absent.is_empty())
        .collect()
}

/// Whether a program, or the file at an absolute path, is there.
pub(crate) fn is_there(thing: &str, exists: &dyn Fn(&Path) -> bool) -> bool {
    places(thing).iter().any(|place| exists(place))
}

fn places(thing: &str) -> Vec<PathBuf> {
    if thing.starts_with('/') {
        vec![PathBuf::from(thing)]
    } else {
        DIRECTORIES.iter().map(|d| Path::new(d).join(thing)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: &[(Package, Vec<&str>)]) -> Vec<&'static str> {
        found.iter().map(|(p, _)| p.name).collect()
    }

    #[test]
    fn an_empty_machine_lacks_everything() {
        let all: Vec<_> = PACKAGES.iter().map(|p| p.name).collect();
        assert_eq!(names(&missing(&|_| false)), all);
    }

    #[test]
    fn a_full_machine_lacks_nothing() {
        assert_eq!(missing(&|_| true), []);
    }

    #[test]
    fn a_tool_outside_the_directories_of_exec_does_not_count() {
        let found =
            missing(&|p| p != Path::new("/usr/sbin/cryptsetup") && p != Path::new("/sbin/cryptsetup"));
        assert_eq!(found, [], "some other directory has it");
        let found = missing(&|p| !p.ends_with("cryptsetup") || p.starts_with("/opt"));
        assert_eq!(names(&found), ["cryptsetup-bin"]);
    }

    #[test]
    fn each_thing_of_a_package_is_needed() {
        let found = missing(&|p| !p.ends_with("umount"));
        assert_eq!(names(&found), ["mount"]);
        assert_eq!(found[0].1, ["umount"]);
    }

    #[test]
    fn services_are_those_of_packages_that_are_about_to_be_installed() {
        let of = |names: &[&str]| {
            let packages = PACKAGES.iter().filter(|p| names.contains(&p.name));
            services(&packages.copied().collect::<Vec<_>>()).collect::<Vec<_>>()
        };
        assert_eq!(of(&["qemu-utils", "libvirt-clients"]), [""; 0]);
        assert_eq!(of(&["nfs-ganesha"])[0], "nfs-ganesha.service");
        let libvirt = of(&["libvirt-daemon-system"]);
        assert!(libvirt.contains(&"libvirtd.socket") && !libvirt.contains(&"rpcbind.socket"));
        for (package, _) in SERVICES {
            assert!(PACKAGES.iter().any(|p| p.name == *package), "{package}");
        }
    }

    #[test]
    fn a_file_list_tells_which_package_really_ships_a_program() {
        let mount = PACKAGES.iter().find(|p| p.name == "mount").unwrap();
        assert_eq!(
            mount.not_shipped("/.\n/bin/mount\n/bin/umount\n/sbin/losetup\n"),
            [""; 0]
        );
        assert_eq!(
            mount.not_shipped("/.\n/bin/mount\n/bin/umount\n/usr/share/doc/losetup\n"),
            ["losetup"]
        );
    }
}
