//! A process with many open files. A process of its own: which numbers are free is decided once for all threads.
#![cfg(test)]

use std::fs::{self, File, Permissions};
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use strongroom_exec::{CommandSpec, DESCRIPTOR_BASE, Program, RunError, Runner, SystemRunner, Watch};

const TEXT: &str = "nobody writes here";

/// A file that may be written, with a text.
fn passed() -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(TEXT.as_bytes()).unwrap();
    file
}

fn text(file: &mut File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Takes every free number up to the last one.
fn fill(last: i32) -> Vec<OwnedFd> {
    let mut crowd = vec![OwnedFd::from(File::open("/dev/null").unwrap())];
    while crowd.iter().all(|taken| taken.as_raw_fd() != last) {
        let next = fcntl_dupfd_cloexec(&crowd[0], 0).unwrap();
        assert!(next.as_raw_fd() <= last, "{last} was not free");
        crowd.push(next);
    }
    crowd
}

#[test]
fn a_program_that_does_not_start_is_an_error_and_writes_nothing_however_many_files_are_open() {
    let needed = u64::try_from(DESCRIPTOR_BASE).unwrap() + 100;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let current = Some(needed);
        setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    }
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("tool");
    fs::write(&path, "#!/nonexistent/interpreter\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let tool = Program::at(&path).unwrap();

    // With the first two the standard library's pipe would get a number that the child gives to a passed file; with the last
    // whatever is opened next does.
    for (last, files) in [(892, 1), (885, 12), (899, 14)] {
        let mut files: Vec<File> = (0..files).map(|_| passed()).collect();
        let crowd = fill(last);
        let mut spec = CommandSpec::new(tool.clone());
        for file in &files {
            spec.pass(file.as_fd());
        }
        let result = SystemRunner::new().run(&spec, &Watch::nobody());
        drop(crowd);
        let no_entry = Some(Errno::NOENT.raw_os_error());
        assert!(
            matches!(&result, Err(RunError::Start { source, .. }) if source.raw_os_error() == no_entry),
            "{last}: {result:?}"
        );
        for (file, number) in files.iter_mut().zip(DESCRIPTOR_BASE..) {
            assert_eq!(text(file), TEXT, "{last}");
            let kept = fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
            assert_eq!(kept.to_str(), Some("/dev/null"), "{number} after {last}");
        }
    }
}
