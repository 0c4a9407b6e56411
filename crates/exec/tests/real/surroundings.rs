use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use strongroom_exec::{Runner, SystemRunner, Watch};

use crate::{command, run, sh, stdout};

fn memfd(text: &[u8]) -> OwnedFd {
    let mut file = File::from(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(text).unwrap();
    file.into()
}

/// The numbers of these descriptors and of what every child of this process has: its three streams, and what whoever
/// started this process left open for children of children.
fn expected(passed: &[i32]) -> BTreeSet<i32> {
    let close_on_exec = |number: &i32| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        // O_CLOEXEC; none is said of one that was closed meanwhile.
        flags.is_none_or(|flags| u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 != 0)
    };
    let listing = std::fs::read_dir("/proc/self/fd").unwrap();
    let here = listing.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let inherited = here.filter(|number| !close_on_exec(number));
    inherited.chain([0, 1, 2]).chain(passed.iter().copied()).collect()
}

/// The descriptors in a listing by `ls`, without the one that `ls` has of its directory.
fn listed(listing: &str) -> BTreeSet<i32> {
    let mut all: BTreeSet<i32> = listing.lines().map(|line| line.parse().unwrap()).collect();
    assert!(all.remove(&3), "{all:?}");
    all
}

#[test]
fn the_environment_has_one_variable() {
    assert!(std::env::var_os("PATH").is_some(), "nothing to clear");
    assert_eq!(stdout(&command("env")), "LC_ALL=C\n");
}

#[test]
fn the_directory_is_the_root() {
    assert_ne!(std::env::current_dir().unwrap().to_str(), Some("/"));
    assert_eq!(stdout(&command("pwd")), "/\n");
}

#[test]
fn standard_input_is_empty() {
    assert_eq!(stdout(&command("readlink").arg("/proc/self/fd/0")), "/dev/null\n");
    assert_eq!(stdout(&command("cat")), "");
}

#[test]
fn no_descriptor_is_inherited_that_was_not_passed() {
    let _open = (
        memfd(b"a"),
        File::open("/").unwrap(),
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC),
    );
    let listing = stdout(&command("ls").arg("/proc/self/fd"));
    assert_eq!(listed(&listing), expected(&[]));

    let (one, two) = (memfd(b"1"), memfd(b"2"));
    let mut ls = command("ls").arg("/proc/self/fd");
    ls.pass(one.as_fd());
    ls.pass(two.as_fd());
    assert_eq!(listed(&stdout(&ls)), expected(&[900, 901]));
}

#[test]
fn passed_descriptors_are_read_under_fixed_names() {
    let (one, two) = (memfd(b"first "), memfd(b"second"));
    let mut cat = command("cat");
    let (a, b) = (cat.pass(one.as_fd()), cat.pass(two.as_fd()));
    assert_eq!(a.to_str(), Some("/proc/self/fd/900"));
    assert_eq!(b.to_str(), Some("/proc/self/fd/901"));
    assert_eq!(cat.pass(one.as_fd()), a);
    let cat = cat.args([&a, &b, &a]);
    assert_eq!(stdout(&cat), "first secondfirst ");
    assert_eq!(cat.descriptors().len(), 2);
    // The parent's own stays closed for other children, and open for another run.
    let flags = rustix::io::fcntl_getfd(&one).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    assert_eq!(stdout(&cat), "first secondfirst ");
}

/// The mask of signals that this word of `/proc/PID/status` has.
fn signals(status: &str, word: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(word)).unwrap();
    let all = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
    // Two signals, 32 and 33, are the C library's own: it ignores them in what it starts.
    all & !(0b11 << 31)
}

#[test]
fn a_broken_pipe_ends_it_though_this_process_ignores_the_signal() {
    const SIGPIPE: u64 = 1 << 12;
    let here = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    assert_eq!(signals(&here, "SigIgn:") & SIGPIPE, SIGPIPE);
    let passed = memfd(b"");
    let spawned = command("cat").arg("/proc/self/status");
    let mut forked = spawned.clone();
    forked.pass(passed.as_fd());
    for spec in [spawned, forked] {
        let there = stdout(&spec);
        assert_eq!(signals(&there, "SigIgn:"), signals(&here, "SigIgn:") & !SIGPIPE);
        assert_eq!(signals(&there, "SigBlk:"), signals(&here, "SigBlk:"));
        assert_eq!(signals(&there, "SigCgt:"), 0);
    }
}

#[test]
fn it_leads_a_process_group_of_its_own() {
    let seen = stdout(&sh("echo $$; cut -d' ' -f5 /proc/$$/stat"));
    let mut numbers = seen.split_whitespace();
    assert_eq!(numbers.next(), numbers.next());
}

#[test]
fn it_leaves_no_core_file() {
    // The limit is set when the program has already begun.
    let script = "until grep -q 'Max core file size  *1  *1 ' /proc/self/limits; do :; done";
    let begun = std::time::Instant::now();
    let done = run(&sh(script).timeout(crate::PATIENCE)).unwrap();
    assert_eq!(done.code, 0);
    assert!(done.duration <= begun.elapsed());
}

#[test]
fn four_at_once_do_not_mix_their_descriptors_or_outputs() {
    std::thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || {
                for round in 0..25 {
                    let text = format!("{number}.{round}");
                    let own = memfd(text.as_bytes());
                    let mut cat = sh("cat /proc/self/fd/900; ls /proc/self/fd >&2");
                    cat.pass(own.as_fd());
                    let done = SystemRunner::new().run(&cat, &Watch::nobody()).unwrap();
                    assert_eq!(String::from_utf8(done.stdout).unwrap(), text);
                    let listing = String::from_utf8(done.stderr).unwrap();
                    assert_eq!(listed(&listing), expected(&[900]));
                }
            });
        }
    });
}
