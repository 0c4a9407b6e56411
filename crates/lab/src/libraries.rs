use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};

use crate::GuestError;

/// The dynamic linker of glibc on amd64 (the System V ABI's processor supplement).
const LINKER: &str = "/lib64/ld-linux-x86-64.so.2";

/// The shared libraries that a program needs, those of its libraries included, and the linker. None for a script and for a
/// program that is linked statically.
pub(crate) fn of(program: &Path) -> Result<Vec<PathBuf>, GuestError> {
    if !is_elf(program)? {
        return Ok(Vec::new());
    }
    let linker = Program::at(LINKER).map_err(|source| GuestError::Tool {
        package: "libc6",
        source,
    })?;
    let ask = |what: &str| {
        let spec = CommandSpec::new(linker.clone()).arg(what).arg(program);
        SystemRunner::new()
            .run(&spec, &Watch::nobody())
            .map_err(|source| GuestError::Libraries {
                program: program.to_owned(),
                source,
            })
    };
    // As ldd(1) does it: 1 is for a file that is not linked dynamically.
    if ask("--verify")?.code == 1 {
        return Ok(Vec::new());
    }
    let listed = ask("--list")?;
    if listed.code != 0 {
        return Err(GuestError::Missing {
            what: format!("a library of {}: {}", program.display(), listed.message()),
        });
    }
    Ok(read(&String::from_utf8_lossy(&listed.stdout)))
}

fn is_elf(path: &Path) -> Result<bool, GuestError> {
    let mut magic = Vec::new();
    File::open(path)
        .and_then(|file| file.take(4).read_to_end(&mut magic))
        .map_err(|source| GuestError::io("read", path, source))?;
    Ok(magic == b"\x7fELF")
}

/// Reads lines like `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f..)` and `/lib64/ld-linux-x86-64.so.2 (0x7f..)`.
fn read(list: &str) -> Vec<PathBuf> {
    list.lines()
        .map(|line| line.split_once(" => ").map_or(line, |(_, path)| path))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_linker_lists_is_read() {
        let list = "\tlinux-vdso.so.1 (0x00007ffe)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f02)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f03)\n";
        assert_eq!(
            read(list),
            [
                Path::new("/lib/x86_64-linux-gnu/libc.so.6"),
                Path::new("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }

    #[test]
    fn a_program_has_libraries_and_a_script_and_a_static_program_have_none() {
        let dynamic = Program::find("cat").unwrap();
        let libraries = of(dynamic.path()).unwrap();
        assert!(
            libraries.iter().any(|l| l.ends_with("libc.so.6")),
            "{libraries:?}"
        );
        assert!(libraries.iter().any(|l| l == Path::new(LINKER)), "{libraries:?}");
        let fixed = Program::find("busybox").expect("apt-get install busybox-static");
        assert_eq!(of(fixed.path()).unwrap(), [""; 0].map(PathBuf::from));
        let script = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script.path(), "#!/bin/sh\n").unwrap();
        assert_eq!(of(script.path()).unwrap(), [""; 0].map(PathBuf::from));
    }
}
