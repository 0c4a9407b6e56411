//! The numbers of passed descriptors are somebody else's in this process. A process of its own: which numbers are free is
//! decided once for all threads.
#![cfg(test)]

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::fcntl_dupfd_cloexec;
use strongroom_exec::{CommandSpec, DESCRIPTOR_BASE, Program, Runner, SystemRunner, Watch};

fn file(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn target(number: i32) -> String {
    let target = fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    target.to_str().unwrap().to_owned()
}

#[test]
fn numbers_that_others_have_here_are_not_mistaken_and_left_to_them() {
    let (one, two) = (file("one"), file("two"));
    let take = |file: &File, number| -> OwnedFd {
        let taken = fcntl_dupfd_cloexec(file, number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        taken
    };
    // The second passed descriptor has the number that the first shall have, and a third is not passed.
    let second = take(&two, DESCRIPTOR_BASE);
    let directory = File::open("/").unwrap();
    let third = take(&directory, DESCRIPTOR_BASE + 1);

    let cat = || CommandSpec::new(Program::find("cat").unwrap());
    let mut both = cat();
    let (a, b) = (both.pass(one.as_fd()), both.pass(second.as_fd()));
    let done = SystemRunner::new()
        .run(&both.args([a, b]), &Watch::nobody())
        .unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "onetwo");
    assert_eq!(target(DESCRIPTOR_BASE), target(two.as_raw_fd()));
    assert_eq!(target(DESCRIPTOR_BASE + 1), "/");

    // What they gave back is taken, and stays so.
    drop((second, third));
    let mut three = cat();
    let paths = [one.as_fd(), two.as_fd(), directory.as_fd()].map(|passed| three.pass(passed));
    let done = SystemRunner::new()
        .run(&three.args(&paths[..2]), &Watch::nobody())
        .unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "onetwo");
    for number in DESCRIPTOR_BASE..DESCRIPTOR_BASE + 3 {
        assert_eq!(target(number), "/dev/null");
    }
}
