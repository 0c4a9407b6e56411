use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use strongroom_exec::{CommandSpec, Obstacle, Program, RunError};

use crate::{command, run, stdout};

fn script(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_program_is_looked_for_in_fixed_places() {
    let found = Program::find("sh").unwrap();
    assert!(strongroom_exec::DIRECTORIES.contains(&found.path().parent().unwrap().to_str().unwrap()));
    let unheard_of = "sh-of-another-world";
    let missing = Program::find(unheard_of).unwrap_err();
    assert_eq!(missing.obstacle, Obstacle::NotInstalled);
    assert_eq!(
        missing.to_string(),
        "sh-of-another-world is not installed: looked in \
         /usr/local/sbin, /usr/local/bin, /usr/sbin, /usr/bin, /sbin, /bin"
    );
    for name in ["", "../bin/sh", "/bin/sh", "bin/sh"] {
        assert_eq!(
            Program::find(name).unwrap_err().obstacle,
            Obstacle::NotAName,
            "{name}"
        );
    }
}

#[test]
fn what_cannot_be_executed_is_no_program() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("a file");
    script(&file, "#!/bin/sh\n", 0o644);
    let error = Program::at(&file).unwrap_err();
    assert_eq!(error.obstacle, Obstacle::NotExecutable(file.clone()));
    assert_eq!(
        error.to_string(),
        format!(
            "'{0}' cannot be executed: no permission to execute '{0}'",
            file.display()
        )
    );
    let error = Program::at(place.path()).unwrap_err();
    assert_eq!(error.obstacle, Obstacle::NotAFile(place.path().to_owned()));
    assert_eq!(
        Program::at("/nonexistent/sh").unwrap_err().to_string(),
        "/nonexistent/sh does not exist or is not reachable"
    );
    assert_eq!(
        Program::at("bin/sh").unwrap_err().to_string(),
        "bin/sh is not an absolute path"
    );
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(Program::at(&file).unwrap().path(), file);
}

#[test]
fn a_program_that_went_away_or_is_none_does_not_start() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("it's gone");
    script(&path, "#!/nonexistent/interpreter\n", 0o755);
    let spec = CommandSpec::new(Program::at(&path).unwrap());
    let kind = |result| match result {
        Err(RunError::Start { source, program }) => (source.kind(), program),
        other => panic!("{other:?}"),
    };
    let (found, program) = kind(run(&spec));
    assert_eq!(found, ErrorKind::NotFound);
    assert_eq!(program, spec.to_string());
    assert!(program.ends_with(r"/it'\''s gone'"), "{program}");

    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(kind(run(&spec)).0, ErrorKind::PermissionDenied);
    fs::remove_file(&path).unwrap();
    assert_eq!(kind(run(&spec)).0, ErrorKind::NotFound);
    fs::create_dir(&path).unwrap();
    assert_eq!(kind(run(&spec)).0, ErrorKind::PermissionDenied);
}

#[test]
fn what_is_neither_a_program_nor_begins_with_an_interpreter_is_given_to_no_shell() {
    let place = tempfile::tempdir().unwrap();
    let (path, trace) = (place.path().join("tool"), place.path().join("trace"));
    let key = fs::File::open("/dev/null").unwrap();
    let a_shells = format!("echo > {}\n", trace.display());
    let interpreter = place.path().join("interpreter");
    script(&interpreter, &a_shells, 0o755);
    let nested = format!("#!{}\n", interpreter.display());
    for text in [&a_shells, &nested, "", "#", "#!\n", "\x7fEL", " #!/bin/sh\n"] {
        script(&path, text, 0o755);
        let alone = CommandSpec::new(Program::at(&path).unwrap());
        let mut with_key = alone.clone();
        with_key.pass(key.as_fd());
        for spec in [alone, with_key] {
            let result = run(&spec);
            let no_exec = Some(rustix::io::Errno::NOEXEC.raw_os_error());
            assert!(
                matches!(&result, Err(RunError::Start { source, .. }) if source.raw_os_error() == no_exec),
                "{text:?}: {result:?}"
            );
        }
        assert!(!trace.exists(), "{text:?}");
    }
    script(&interpreter, &format!("#!/bin/sh\n{a_shells}"), 0o755);
    script(&path, &nested, 0o755);
    let mut with_key = CommandSpec::new(Program::at(&path).unwrap());
    with_key.pass(key.as_fd());
    assert_eq!(stdout(&with_key), "");
    assert!(trace.exists());
}

#[test]
fn a_nul_byte_in_an_argument_does_not_start() {
    let error = run(&command("true").arg("a\0b")).unwrap_err();
    assert!(
        matches!(&error, RunError::Start { source, .. } if source.kind() == ErrorKind::InvalidInput),
        "{error:?}"
    );
}

#[test]
fn arguments_are_any_bytes() {
    let nasty: Vec<&OsStr> = [
        b"".as_slice(),
        b"-n",
        b"--",
        b"$HOME `true` \\ ' \" * ~",
        b"new\nline\ttab\x1b[31m",
        b"\xff\xfe not UTF-8 \xc3",
        "ähm \u{202e}".as_bytes(),
    ]
    .into_iter()
    .map(OsStr::from_bytes)
    .collect();
    let spec = command("printf").arg("%s\\0").args(&nasty);
    let seen = run(&spec).unwrap().stdout;
    let words: Vec<&[u8]> = seen.split(|byte| *byte == 0).collect();
    let expected: Vec<&[u8]> = nasty
        .iter()
        .map(|word| word.as_bytes())
        .chain([b"".as_slice()])
        .collect();
    assert_eq!(words, expected);
}

#[test]
fn a_shell_understands_a_command_as_it_is_shown() {
    let every: Vec<u8> = (1..=255).collect();
    let words = [
        b"plain-_./,:=+@%".as_slice(),
        b"",
        b"~",
        b"it's",
        b"#a",
        b"a=b;c|d&e>f<g(h)",
        b"\\x41 \\n",
        b"tail \\",
        b"'\n'\\'",
        b"\xff41",
        "é\u{200b}\u{2028}é".as_bytes(),
        &every,
    ];
    for word in words {
        let spec = command("printf").args(["%s|", "-"]).arg(OsStr::from_bytes(word));
        let shown = spec.to_string();
        assert!(!shown.chars().any(char::is_control), "{shown}");
        let again = run(&command("bash").args(["-c", &shown])).unwrap();
        assert_eq!(again.stdout, [b"-|", word, b"|"].concat(), "{shown}");
    }
}

#[test]
fn an_exit_code_is_an_answer() {
    for code in [0, 1, 42, 255] {
        let done = run(&crate::sh(&format!("echo out; echo err >&2; exit {code}"))).unwrap();
        assert_eq!(done.code, code);
        assert_eq!(
            (done.stdout.as_slice(), done.stderr.as_slice()),
            (b"out\n".as_slice(), b"err\n".as_slice())
        );
    }
    assert_eq!(stdout(&command("true")), "");
}
