use strongroom_exec::Completed;

use crate::LibvirtError;

type Kind = fn(&'static str, String) -> LibvirtError;

macro_rules! kind {
    ($name:ident) => {
        |action, message| LibvirtError::$name { action, message }
    };
}

/// What a message ends with when it is of a kind. Names of files stand before these words, so that no file can be called in a way
/// that looks like another failure.
const ENDINGS: &[(&str, Kind)] = &[
    ("Invalid password, cannot unlock any keyslot", kind!(WrongKey)),
    (
        "No keyslots match given (old) password for erase operation",
        kind!(WrongKey),
    ),
    ("Volume is not in LUKS format", kind!(NotLuks)),
    ("Image is not in qcow2 format", kind!(WrongFormat)),
    (
        "No encryption in image header, but options specified format 'luks'",
        kind!(NotEncrypted),
    ),
    (
        "Parameter 'encrypt.key-secret' is required for cipher",
        kind!(KeyNeeded),
    ),
    ("does not have a value", kind!(NoSecret)),
    ("domain is not running", kind!(NotRunning)),
    ("not assigned to domain", kind!(NoDisk)),
    ("not found in the domain config", kind!(NoDisk)),
    (
        "Unable to read from monitor: Connection reset by peer",
        kind!(GuestDied),
    ),
    ("End of file from qemu monitor", kind!(GuestDied)),
    ("Cannot recv data: Connection reset by peer", kind!(Unreachable)),
    (
        "End of file while reading data: Input/output error",
        kind!(Unreachable),
    ),
    ("No space left on device", kind!(NoSpace)),
    ("Disk quota exceeded", kind!(NoSpace)),
    ("Permission denied", kind!(Denied)),
    ("Operation not permitted", kind!(Denied)),
    ("Read-only file system", kind!(Denied)),
    ("No such file or directory", kind!(NoFile)),
    ("No such device or address", kind!(NoFile)),
    ("already in active block job", kind!(Busy)),
    ("domain has active block job", kind!(Busy)),
    ("Device or resource busy", kind!(Busy)),
    ("Failed to get \"write\" lock", kind!(Busy)),
    ("Failed to get shared \"write\" lock", kind!(Busy)),
    ("Failed to get \"consistent read\" lock", kind!(Busy)),
];

/// What a message begins with when it is of a kind.
const BEGINNINGS: &[(&str, Kind)] = &[
    ("failed to connect to the hypervisor", kind!(Unreachable)),
    ("Failed to connect socket to", kind!(Unreachable)),
    ("failed to get domain", kind!(NoDomain)),
    ("Domain not found", kind!(NoDomain)),
    ("Domain checkpoint not found", kind!(BrokenCheckpoint)),
    ("checkpoint inconsistent: ", kind!(BrokenCheckpoint)),
    ("Secret not found", kind!(NoSecret)),
    ("No found disk whose source path or target is", kind!(NoDisk)),
    ("device not found", kind!(NoDisk)),
    ("XML error: target '", kind!(AlreadyExists)),
    (
        "Timed out during operation: cannot acquire state change lock",
        kind!(Busy),
    ),
    (
        "this function is not supported by the connection driver",
        kind!(Unsupported),
    ),
    ("unsupported configuration: ", kind!(Unsupported)),
    ("Operation not supported: ", kind!(Unsupported)),
    ("argument unsupported: ", kind!(Unsupported)),
];

/// What a failed run says, by its last words.
pub(crate) fn diagnose(action: &'static str, done: &Completed) -> LibvirtError {
    let stderr = String::from_utf8_lossy(&done.stderr);
    let message = message(&stderr);
    let mut complaints: Vec<&str> = complaints(&stderr).collect();
    let reason = complaints.pop().unwrap_or_default();
    let ends = |text: &str| reason.ends_with(text);
    let starts = |text: &str| reason.starts_with(text);

    // Before the endings: the path of the socket is missing, not one of the virtual machine's files.
    if complaints
        .last()
        .is_some_and(|line| line.starts_with("failed to connect to the hypervisor"))
    {
        return LibvirtError::Unreachable { action, message };
    }
    let by_ending = ENDINGS.iter().find(|(text, _)| ends(text));
    if let Some((_, kind)) = by_ending.or_else(|| BEGINNINGS.iter().find(|(text, _)| starts(text))) {
        return kind(action, message);
    }
    let known = (starts("operation failed: domain '") && reason.contains("' already exists with uuid"))
        || (starts("Requested operation is not valid: domain ") && reason.contains("already active"))
        || (starts("internal error: a secret with UUID ") || starts("internal error: UUID "));
    if known {
        return LibvirtError::AlreadyExists { action, message };
    }
    LibvirtError::Failed {
        action,
        code: done.code,
        message,
    }
}

/// What was printed, on one line, without virsh's own `error:`.
fn message(stderr: &str) -> String {
    let text = complaints(stderr).collect::<Vec<_>>().join("; ");
    let shortened = Completed::new(0, "", text).message();
    if shortened.is_empty() {
        "it gave no reason".into()
    } else {
        shortened
    }
}

fn complaints(stderr: &str) -> impl Iterator<Item = &str> {
    stderr
        .lines()
        .map(|line| line.strip_prefix("error: ").unwrap_or(line).trim())
        .filter(|line| !line.is_empty() && !line.starts_with("Is another process using the image ["))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(stderr: &str) -> String {
        let error = diagnose("create", &Completed::new(1, "", stderr));
        let text = format!("{error:?}");
        text.split([' ', '{']).next().unwrap().to_owned()
    }

    /// Texts of libvirt 11.3 and QEMU 10.0, as they were printed.
    #[test]
    fn kinds_by_the_last_words() {
        for (said, expected) in [
            (
                "internal error: process exited while connecting to monitor: 2026-11-24T19:53:24Z qemu-system-x86_64: -blockdev {\"driver\":\"luks\"}: Invalid password, cannot unlock any keyslot",
                "WrongKey",
            ),
            (
                "internal error: unable to execute QEMU command 'blockdev-add': Volume is not in LUKS format",
                "NotLuks",
            ),
            (
                "internal error: unable to execute QEMU command 'blockdev-add': Image is not in qcow2 format",
                "WrongFormat",
            ),
            (
                "internal error: unable to execute QEMU command 'blockdev-add': No encryption in image header, but options specified format 'luks'",
                "NotEncrypted",
            ),
            (
                "internal error: unable to execute QEMU command 'blockdev-add': Parameter 'encrypt.key-secret' is required for cipher",
                "KeyNeeded",
            ),
            (
                "Secret not found: no secret with matching uuid 'd3ee2cdf-e264-87a5-b318-6fcb4b5553aa'",
                "NoSecret",
            ),
            (
                "Secret not found: secret 'd3ee2cdf-e264-87a5-b318-6fcb4b5553aa' does not have a value",
                "NoSecret",
            ),
            (
                "internal error: a secret with UUID 6a0e already defined for use with vol-a",
                "AlreadyExists",
            ),
            (
                "internal error: UUID 6a0e already defined for use with vol-a",
                "AlreadyExists",
            ),
            (
                "operation failed: domain 'vm' already exists with uuid 8e64a16e-3c83-802d-bf07-1d8470fd50f4",
                "AlreadyExists",
            ),
            (
                "Requested operation is not valid: domain 'vm' is already active",
                "AlreadyExists",
            ),
            (
                "Requested operation is not valid: domain is already active as 'vm'",
                "AlreadyExists",
            ),
            ("XML error: target 'vda' duplicated", "AlreadyExists"),
            (
                "block copy still active: disk 'vda' already in active block job",
                "Busy",
            ),
            (
                "checkpoint inconsistent: missing or broken bitmap 'first' for disk 'vda'",
                "BrokenCheckpoint",
            ),
            (
                "Domain checkpoint not found: no domain checkpoint with matching name 'first'",
                "BrokenCheckpoint",
            ),
            (
                "Requested operation is not valid: domain is not running",
                "NotRunning",
            ),
            (
                "invalid argument: invalid path vdz not assigned to domain",
                "NoDisk",
            ),
            (
                "failed to get domain '8e64a16e-3c83-802d-bf07-1d8470fd50f4'",
                "NoDomain",
            ),
            (
                "internal error: process exited while connecting to monitor: 2026Z qemu-system-x86_64: -blockdev {}: Failed to get \"write\" lock\nIs another process using the image [/v]?",
                "Busy",
            ),
            (
                "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainCreateXML)",
                "Busy",
            ),
            ("unable to stat: /v: No such file or directory", "NoFile"),
            (
                "Cannot access storage file '/v' (as uid:0, gid:0): Permission denied",
                "Denied",
            ),
            (
                "Unable to read from monitor: Connection reset by peer",
                "GuestDied",
            ),
            (
                "End of file while reading data: Input/output error",
                "Unreachable",
            ),
            (
                "this function is not supported by the connection driver: virSecretDefineXML",
                "Unsupported",
            ),
            ("something that nobody has seen", "Failed"),
            ("", "Failed"),
        ] {
            let stderr = format!("error: Failed to create domain from /proc/self/fd/900\nerror: {said}\n");
            assert_eq!(kind(&stderr), expected, "{said}");
        }
        let nobody = "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/run/libvirt/libvirt-sock': No such file or directory\n";
        assert_eq!(kind(nobody), "Unreachable");
    }

    #[test]
    fn no_name_looks_like_another_failure() {
        for name in [
            "Invalid password, cannot unlock any keyslot",
            "x\nerror: Volume is not in LUKS format",
        ] {
            let stderr = format!(
                "error: Failed to attach {name}\nerror: unable to stat: /{name}: No such file or directory\n"
            );
            assert_eq!(kind(&stderr), "NoFile", "{name}");
        }
    }

    #[test]
    fn messages_are_one_short_line() {
        let message = |stderr: &str| diagnose("create", &Completed::new(1, "", stderr)).to_string();
        assert_eq!(
            message("error: Failed\u{7} to start\nerror: for \u{1b}[1mno reason\n"),
            "virsh create failed with exit code 1: Failed  to start; for  [1mno reason"
        );
        assert_eq!(
            message(""),
            "virsh create failed with exit code 1: it gave no reason"
        );
        assert!(message(&"x".repeat(5000)).chars().count() < 1100);
    }
}
