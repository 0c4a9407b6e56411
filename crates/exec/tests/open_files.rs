//! The limit of open files. A process of its own: the limit is the process's.
#![cfg(test)]

use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use strongroom_exec::{CommandSpec, Completed, Program, RunError, Runner, SystemRunner, Watch};

fn run(files: &[File]) -> Result<Completed, RunError> {
    let mut spec = CommandSpec::new(Program::find("ls").unwrap()).arg("/proc/self/fd");
    for file in files {
        spec.pass(file.as_fd());
    }
    SystemRunner::new().run(&spec, &Watch::nobody())
}

#[test]
fn numbers_above_the_limit_of_open_files_do_not_start_and_the_error_says_what_is_needed() {
    let files: Vec<File> = (0..2).map(|_| File::open("/").unwrap()).collect();
    let (one, two) = (&files[..1], &files[..]);
    let allow = |current| {
        let current = Some(current);
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current, ..before }).unwrap();
    };
    let refusal = |result: Result<Completed, RunError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, RunError::Start { .. }), "{error:?}");
        error.source().unwrap().to_string()
    };

    allow(800);
    assert_eq!(
        refusal(run(one)),
        "the limit of open files is 800, 901 are needed; raise RLIMIT_NOFILE"
    );
    assert_eq!(run(&[]).unwrap().code, 0);

    allow(901);
    assert_eq!(
        refusal(run(two)),
        "the limit of open files is 901, 902 are needed; raise RLIMIT_NOFILE"
    );
    let listing = String::from_utf8(run(one).unwrap().stdout).unwrap();
    assert!(listing.lines().any(|number| number == "900"), "{listing}");
}
