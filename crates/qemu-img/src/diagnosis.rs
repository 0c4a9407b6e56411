use strongroom_exec::Completed;

use crate::{Operation, QemuImgError};

/// The longest message that is kept, in characters.
const LONGEST_MESSAGE: usize = 1000;

/// What a failed run says, by its last words.
pub(crate) fn diagnose(operation: Operation, completed: &Completed) -> QemuImgError {
    let stderr = String::from_utf8_lossy(&completed.stderr);
    let message = message(&stderr);
    let reason = reason(&stderr);
    let ends = |texts: &[&str]| texts.iter().any(|text| reason.ends_with(text));
    let starts = |texts: &[&str]| texts.iter().any(|text| reason.starts_with(text));

    if ends(&["Invalid password, cannot unlock any keyslot"])
        || reason == "No keyslots match given (old) password for erase operation"
    {
        QemuImgError::WrongKey { operation, message }
    } else if ends(&[
        "No such file or directory",
        "snapshot not found",
        "Can't find snapshot",
    ]) || (operation == Operation::Bitmap && ends(&["not found"]))
    {
        QemuImgError::NotFound { operation, message }
    } else if ends(&[
        "Permission denied",
        "Operation not permitted",
        "Read-only file system",
    ]) {
        QemuImgError::Denied { operation, message }
    } else if ends(&[
        "No space left on device",
        "Disk quota exceeded",
        // As QEMU 7.2 says it of a snapshot.
        "-28 (No space left on device)",
    ]) {
        QemuImgError::NoSpace { operation, message }
    } else if starts(&[
        "Failed to lock byte",
        "Failed to unlock byte",
        "Failed to get \"",
        "Failed to get shared \"",
    ]) || ends(&["Device or resource busy"])
    {
        QemuImgError::Busy { operation, message }
    } else if ends(&[
        "is required for cipher",
        "Image is not in qcow2 format",
        "Volume is not in LUKS format",
    ]) || starts(&[
        "No encryption in image header",
        "'file' driver requires",
        "'host_device' driver requires",
    ]) {
        QemuImgError::NotAsDescribed { operation, message }
    } else if ends(&[
        "not supported",
        "Operation not supported",
        "does not support checks",
    ]) || starts(&["Unsupported ", "Unknown driver", "LUKS version "])
    {
        QemuImgError::Unsupported { operation, message }
    } else if ends(&[
        "table offset invalid",
        "table too large",
        "header too short",
        "in the header",
        "with the header",
        "is corrupted",
        "cannot be opened read/write",
        "count is zero",
    ]) || starts(&["LUKS header ", "Keyslot "])
    {
        QemuImgError::Damaged { operation, message }
    } else {
        QemuImgError::Failed {
            operation,
            code: completed.code,
            message,
        }
    }
}

/// What was printed, on one line, without the warnings and the tool's own name.
pub(crate) fn message(stderr: &str) -> String {
    let lines: Vec<&str> = complaints(stderr)
        .map(|line| line.strip_prefix("qemu-img: ").unwrap_or(line))
        .collect();
    let text = lines.join("; ");
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = printable.take(LONGEST_MESSAGE).collect();
    if short.is_empty() {
        short.push_str("it gave no reason");
    }
    short
}

fn complaints(stderr: &str) -> impl Iterator<Item = &str> {
    stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("qemu-img: warning: "))
}

/// The end of the last complaint: what follows the last file name in it. A file name cannot come after it, so that no
/// file can be called in a way that looks like another failure.
fn reason(stderr: &str) -> &str {
    let hint = "Is another process using the image [";
    let mut last = "";
    for line in complaints(stderr) {
        if line.starts_with(hint) {
            break;
        }
        // A sentence of its own that follows the complaint.
        if line == "Could not open backing image." {
            continue;
        }
        last = line;
    }
    let last = last.strip_prefix("qemu-img: ").unwrap_or(last);
    last.rfind("': ")
        .and_then(|at| last.get(at + 3..))
        .unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(stderr: &str) -> String {
        let error = diagnose(Operation::Resize, &Completed::new(1, "", stderr));
        let text = format!("{error:?}");
        text.split([' ', '{']).next().unwrap().to_owned()
    }

    #[test]
    fn kinds_by_the_last_words() {
        for (stderr, expected) in [
            (
                "qemu-img: Could not open 'x': Invalid password, cannot unlock any keyslot\n",
                "WrongKey",
            ),
            (
                "qemu-img: No keyslots match given (old) password for erase operation\n",
                "WrongKey",
            ),
            (
                "qemu-img: Could not open 'x': Could not open 'x': No such file or directory\n",
                "NotFound",
            ),
            (
                "qemu-img: o: Could not open '/b': No such file or directory\nCould not open backing image.\n",
                "NotFound",
            ),
            (
                "qemu-img: Could not open 'x': Could not open 'x': Permission denied\n",
                "Denied",
            ),
            (
                "qemu-img: error while writing at byte 0: No space left on device\n",
                "NoSpace",
            ),
            (
                "qemu-img: Could not create snapshot 's': -28 (No space left on device)\n",
                "NoSpace",
            ),
            (
                "qemu-img: Could not open 'x': Failed to get \"write\" lock\nIs another process using the image [x]?\n",
                "Busy",
            ),
            ("qemu-img: Could not open 'x': Failed to lock byte 100\n", "Busy"),
            (
                "qemu-img: Could not open 'x': Parameter 'encrypt.key-secret' is required for cipher\n",
                "NotAsDescribed",
            ),
            (
                "qemu-img: Could not open 'x': Image is not in qcow2 format\n",
                "NotAsDescribed",
            ),
            (
                "qemu-img: Could not open 'x': LUKS version 2 is not supported\n",
                "Unsupported",
            ),
            (
                "qemu-img: Could not create snapshot 's': Operation not supported\n",
                "Unsupported",
            ),
            (
                "qemu-img: Could not open 'x': Active L1 table offset invalid\n",
                "Damaged",
            ),
            (
                "qemu-img: Could not open 'x': Keyslot 0 is corrupted (stripes -1 != 4000)\n",
                "Damaged",
            ),
            (
                "qemu-img: Could not open 'x': qcow2: Image is corrupt; cannot be opened read/write\n",
                "Damaged",
            ),
            ("qemu-img: output file is smaller than input file\n", "Failed"),
            ("", "Failed"),
        ] {
            assert_eq!(kind(stderr), expected, "{stderr}");
        }
    }

    #[test]
    fn no_file_name_looks_like_another_failure() {
        for name in [
            "x': No space left on device",
            "No space left on device",
            "x\nqemu-img: a': No space left on device",
        ] {
            let stderr = format!("qemu-img: Could not open '{name}': Image is not in qcow2 format\n");
            assert_eq!(kind(&stderr), "NotAsDescribed", "{name}");
            let stderr = format!(
                "qemu-img: Could not open '{name}': Failed to get \"write\" lock\nIs another process using the image [{name}]?\n"
            );
            assert_eq!(kind(&stderr), "Busy", "{name}");
        }
    }

    #[test]
    fn messages_are_one_short_line_without_warnings() {
        let stderr = "qemu-img: warning: Use of \"backing\": \"\" is deprecated\nqemu-img: a\u{7}b\nc\n";
        assert_eq!(message(stderr), "a b; c");
        assert_eq!(message(&"x".repeat(5000)).len(), LONGEST_MESSAGE);
        assert_eq!(message(""), "it gave no reason");
    }
}
