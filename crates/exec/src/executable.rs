use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// What a program begins with, elf(5).
const ELF: &[u8] = b"\x7fELF";

/// How much of a script the kernel reads for its first line (`BINPRM_BUF_SIZE` in `linux/binfmts.h`).
const FIRST_LINE: u64 = 256;

/// How many scripts may be one another's interpreters, execve(2).
const NESTED: usize = 5;

/// Refuses a file that the C library would give to `/bin/sh` because the kernel does not execute it: `execvp`, by which a
/// child with passed descriptors is started, does that, `posix_spawn` does not. An ELF file is believed to be one that this
/// machine executes.
///
/// What cannot be read is left to the kernel, which says better why, or executes it: a program needs no permission to read.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    let mut path = path.to_owned();
    for _ in 0..NESTED {
        let Ok(beginning) = beginning(&path) else {
            return Ok(());
        };
        if beginning.starts_with(ELF) {
            return Ok(());
        }
        path = interpreter(&beginning).ok_or(Errno::NOEXEC)?;
    }
    Ok(())
}

fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    // Should a pipe be there by now, nobody waits for its other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(open(path, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(FIRST_LINE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The interpreter that a script's first line names, execve(2). The child's directory is the root.
fn interpreter(script: &[u8]) -> Option<PathBuf> {
    let line = script.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = line
        .split(|byte| matches!(byte, b' ' | b'\t' | b'\0'))
        .find(|word| !word.is_empty())?;
    Some(Path::new("/").join(OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(path: &Path) -> bool {
        let error = check(path).err();
        assert!(
            error
                .as_ref()
                .is_none_or(|e| e.raw_os_error() == Some(Errno::NOEXEC.raw_os_error())),
            "{error:?}"
        );
        error.is_some()
    }

    #[test]
    fn only_programs_and_scripts_with_an_interpreter_pass() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("tool");
        for (text, refused) in [
            ("#!/bin/sh", false),
            ("#! \t/bin/sh -e\necho", false),
            ("#!bin/sh\n", false),
            ("#!/missing\n", false),
            ("\x7fELF and so on", false),
            ("\x7fEL", true),
            ("#! \n/bin/sh", true),
            ("#!", true),
            ("#", true),
            ("", true),
            ("echo", true),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(refuses(&file), refused, "{text:?}");
        }
        // A directory and nothing at all are for the kernel.
        assert!(!refuses(place.path()));
        assert!(!refuses(&place.path().join("missing")));
    }

    #[test]
    fn an_interpreter_is_looked_at_too() {
        let place = tempfile::tempdir().unwrap();
        let (outer, inner) = (place.path().join("outer"), place.path().join("inner"));
        std::fs::write(&outer, format!("#!{} -x\n", inner.display())).unwrap();
        std::fs::write(&inner, "echo\n").unwrap();
        assert!(refuses(&outer));
        std::fs::write(&inner, "#!/bin/sh\necho\n").unwrap();
        assert!(!refuses(&outer));
        // Two that are each other's have an end, and the kernel's own error.
        std::fs::write(&inner, format!("#!{}\n", outer.display())).unwrap();
        assert!(!refuses(&outer));
    }
}
