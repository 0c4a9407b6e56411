//! Which file systems are mounted where. Reading this list touches none of them, so one that does not answer is in it like any other.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::MountFacts;

/// Where the kernel lists the mounts of this process: proc_pid_mountinfo(5).
const LIST: &str = "/proc/self/mountinfo";

/// The kinds of file systems whose work is done by another machine or another process, which may be silent. In front of a dot, the
/// name of a family, such as `fuse` of `fuse.sshfs`.
const REMOTE: [&str; 19] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "ceph",
    "fuse",
    "fuseblk",
    "9p",
    "virtiofs",
    "afs",
    "lustre",
    "gfs2",
    "ocfs2",
    "orangefs",
    "beegfs",
    "gpfs",
    "glusterfs",
    "coda",
    "autofs",
];

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The number of the file system's device, such as `8:1`.
    pub(crate) device: String,
    pub(crate) facts: MountFacts,
}

impl Mount {
    /// Whether somebody else does the work of the file system.
    pub(crate) fn is_remote(&self) -> bool {
        let family = self.facts.kind.split('.').next().unwrap_or_default();
        REMOTE.contains(&family)
    }

    /// Whether locks that are taken here are seen on this machine alone: nfs(5), `nolock` and `local_lock`.
    pub(crate) fn locks_are_local(&self) -> bool {
        matches!(self.facts.kind.as_str(), "nfs" | "nfs4")
            && self.facts.options.iter().any(|option| {
                option == "nolock"
                    || option
                        .strip_prefix("local_lock=")
                        .is_some_and(|what| what != "none")
            })
    }
}

/// All mounts that this process sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mounts(Vec<Mount>);

impl Mounts {
    /// Those of now.
    pub(crate) fn now() -> io::Result<Self> {
        Ok(Self::parse(&fs::read(LIST)?))
    }

    pub(crate) fn parse(list: &[u8]) -> Self {
        Self(list.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// The mount on which an absolute path without symlinks lies.
    pub(crate) fn of(&self, path: &Path) -> Option<&Mount> {
        // Of two at one place the later one hides the other.
        self.0
            .iter()
            .filter(|mount| path.starts_with(&mount.facts.point))
            .max_by_key(|mount| mount.facts.point.components().count())
    }

    /// Whether somebody else does the work of any of them.
    pub(crate) fn any_remote(&self) -> bool {
        self.0.iter().any(Mount::is_remote)
    }

    /// Where the file system of this device is mounted, if it is.
    pub(crate) fn of_device(&self, device: &str) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.device == device)
    }
}

/// A line of the list: numbers of the mount and its parent, device, root, mount point, options, optional fields, a dash, kind, source,
/// options of the file system.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = text(fields.nth(2)?);
    let point = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    let mut options: Vec<String> = list(fields.next()?);
    fields.find(|field| *field == b"-")?;
    let kind = text(fields.next()?);
    let source = text(fields.next()?);
    for option in list(fields.next().unwrap_or_default()) {
        if !options.contains(&option) {
            options.push(option);
        }
    }
    // Where one of the two says so, nothing is written.
    if options.iter().any(|option| option == "ro") {
        options.retain(|option| option != "rw");
    }
    Some(Mount {
        device,
        facts: MountFacts::new(point, source, kind, options),
    })
}

fn list(field: &[u8]) -> Vec<String> {
    field
        .split(|byte| *byte == b',')
        .filter(|option| !option.is_empty())
        .map(text)
        .collect()
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(field)).into_owned()
}

/// Space, tab, line feed and backslash are three octal digits behind a backslash there.
pub(crate) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        match (first, behind) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = behind.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &[u8] = br"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 22 0:40 /deep /srv/a\040pool rw,nosuid shared:2 master:1 - nfs4 10.0.0.1:/export\134x rw,hard,vers=4.2,local_lock=none
31 22 0:41 / /srv/old rw - nfs server:/old rw,nolock
32 22 0:42 / /srv/old ro - tmpfs  rw,size=1k
33 22 0:43 / /mnt/ssh rw - fuse.sshfs me@there: rw
not a mount";

    #[test]
    fn a_mount_is_found_by_its_longest_beginning_and_the_latest_hides_the_rest() {
        let mounts = Mounts::parse(SAMPLE);
        let of = |path: &str| mounts.of(path.as_ref()).unwrap();
        assert_eq!(of("/srv/a pool/disk").device, "0:40");
        assert_eq!(of("/srv/a pool").facts.source, r"10.0.0.1:/export\x");
        assert_eq!(of("/srv/a poolside").device, "254:0");
        assert_eq!(of("/srv/old/x").facts.kind, "tmpfs");
        assert_eq!(of("/").facts.point, Path::new("/"));
        assert_eq!(mounts.of_device("0:41").unwrap().facts.kind, "nfs");
        assert_eq!(mounts.of_device("8:1"), None);
    }

    #[test]
    fn options_of_mount_and_file_system_are_one_list_in_which_read_only_prevails() {
        let mounts = Mounts::parse(SAMPLE);
        let options = |path: &str| mounts.of(path.as_ref()).unwrap().facts.options.join(",");
        assert_eq!(options("/srv/a pool"), "rw,nosuid,hard,vers=4.2,local_lock=none");
        assert_eq!(options("/srv/old"), "ro,size=1k");
    }

    #[test]
    fn those_that_others_serve_are_known_and_locks_that_stay_here() {
        let mounts = Mounts::parse(SAMPLE);
        let remote = |device: &str| mounts.of_device(device).unwrap().is_remote();
        assert!(remote("0:40") && remote("0:41") && remote("0:43"));
        assert!(!remote("254:0") && !remote("0:42"));
        let local = |device: &str| mounts.of_device(device).unwrap().locks_are_local();
        assert!(local("0:41") && !local("0:40") && !local("254:0"));
    }

    #[test]
    fn this_process_has_a_root() {
        let mounts = Mounts::now().unwrap();
        assert_eq!(mounts.of("/".as_ref()).unwrap().facts.point, Path::new("/"));
    }
}
