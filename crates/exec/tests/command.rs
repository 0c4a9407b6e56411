//! Commands as values.
#![cfg(test)]

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use expect_test::{Expect, expect};
use strongroom_exec::fake::program;
use strongroom_exec::{CommandSpec, OUTPUT_LIMIT};

fn spec() -> CommandSpec<'static> {
    CommandSpec::new(program("/usr/bin/tool")).args(["-o", "x"])
}

#[test]
fn commands_that_would_do_the_same_are_equal() {
    let (one, two) = (File::open("/").unwrap(), File::open("/").unwrap());
    let mut pushed = CommandSpec::new(program("/usr/bin/tool")).arg("-o");
    pushed.push("x");
    assert_eq!(pushed, spec());
    assert_eq!(spec().output_limit(OUTPUT_LIMIT), spec());

    let (mut with_one, mut with_two) = (spec(), spec());
    with_one.pass(one.as_fd());
    with_two.pass(two.as_fd());
    assert_eq!(with_one, with_two);
    with_two.pass(one.as_fd());
    assert_ne!(with_one, with_two);
    assert_ne!(with_one, spec());
}

#[test]
fn commands_that_would_not_do_the_same_are_not_equal() {
    let limit = Duration::from_secs(1);
    for other in [
        CommandSpec::new(program("/bin/tool")).args(["-o", "x"]),
        spec().arg(""),
        CommandSpec::new(program("/usr/bin/tool")).args(["x", "-o"]),
        CommandSpec::new(program("/usr/bin/tool")).arg("-o x"),
        spec().timeout(limit),
        spec().output_limit(1),
    ] {
        assert_ne!(other, spec(), "{other}");
    }
    assert_eq!(spec().timeout(limit), spec().timeout(limit));
    assert_eq!(spec().timeout(limit).time_limit(), Some(limit));
    assert_eq!((spec().time_limit(), spec().stdout_limit()), (None, OUTPUT_LIMIT));
}

#[test]
fn commands_are_shown_as_a_shell_takes_them() {
    let check = |words: &[&[u8]], expected: Expect| {
        let words = words.iter().map(|word| OsStr::from_bytes(word));
        let spec = CommandSpec::new(program("/opt/my tools/t")).args(words);
        expected.assert_eq(&spec.to_string());
    };
    check(&[], expect!["'/opt/my tools/t'"]);
    check(
        &[b"-f", b"--size=10", b"/a/b.c", b"a:b,c@d", b"50%"],
        expect!["'/opt/my tools/t' -f --size=10 /a/b.c a:b,c@d 50%"],
    );
    check(
        &[b"", b"it's", b"$x", b"~", "ümläut".as_bytes()],
        expect![[r"'/opt/my tools/t' '' 'it'\''s' '$x' '~' 'ümläut'"]],
    );
    check(
        &[b"a\nb", b"\xff'\\", b"\x1b[2J", "\u{202e}é".as_bytes()],
        expect![[r"'/opt/my tools/t' $'a\nb' $'\xff\'\\' $'\x1b[2J' $'\xe2\x80\xaeé'"]],
    );
}

#[test]
fn different_arguments_are_shown_differently() {
    let confusing: [&[&str]; 8] = [
        &["a b"],
        &["a", "b"],
        &["a", "", "b"],
        &["'a b'"],
        &["a\nb"],
        &["a\\nb"],
        &["$'a\\nb'"],
        &["a\u{200b}b"],
    ];
    let shown: HashSet<String> = confusing
        .iter()
        .map(|words| spec().args(words.iter().copied()).to_string())
        .collect();
    assert_eq!(shown.len(), confusing.len(), "{shown:?}");
}
