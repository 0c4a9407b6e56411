//! What the README of the driver template says to do with it, done.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};

/// The root of the checkout.
fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The shell lines of the README.
fn steps() -> String {
    let readme = std::fs::read_to_string(checkout().join("examples/driver-template/README.md")).unwrap();
    let (_, rest) = readme.split_once("```sh\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// Where cargo builds what this test is part of.
fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().to_owned()
}

#[test]
fn a_copy_of_the_template_renamed_as_its_readme_says_compiles_and_passes() {
    let directory = tempfile::tempdir().unwrap();
    // From the lock file and what cargo has already, so that the same is built as here and nothing is fetched. The profile is
    // that of the workspace, so that what others wrote is not compiled twice.
    let lock = "cp \"$STRONGROOM/Cargo.lock\" .\n";
    let script = steps().replace("cargo test", &format!("{lock}\"$CARGO\" test --offline 2>&1"));
    assert!(script.contains(lock), "{script}");
    let settings = [
        ("STRONGROOM", checkout().to_owned()),
        ("CARGO", env!("CARGO").into()),
        ("CARGO_TARGET_DIR", target()),
        ("CARGO_PROFILE_DEV_DEBUG", "line-tables-only".into()),
    ];
    let inherited = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
    let inherited = inherited
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?.into())));
    let exports: String = settings
        .into_iter()
        .chain(inherited)
        .map(|(name, value): (_, PathBuf)| format!("export {name}='{}'\n", value.display()))
        .collect();
    let script = format!("set -eu\n{exports}cd '{}'\n{script}", directory.path().display());

    let command = CommandSpec::new(Program::find("sh").unwrap())
        .args(["-c", &script])
        .timeout(Duration::from_secs(1800));
    let done = SystemRunner::new().run(&command, &Watch::nobody()).unwrap();
    let printed = String::from_utf8_lossy(&done.stdout).into_owned() + &done.message();
    assert_eq!(done.code, 0, "{printed}");
    assert!(printed.contains("Compiling acme-pool"), "{printed}");
    assert!(printed.contains("Doc-tests acme_pool"), "{printed}");

    // Nothing of the template's names is left where a compiler or a reader of the copy meets it.
    let left = CommandSpec::new(Program::find("grep").unwrap())
        .args([
            "-rlE",
            "strongroom.driver.template|TemplatePool",
            "--include=*.rs",
            "--include=Cargo.toml",
        ])
        .arg(directory.path());
    let left = SystemRunner::new().run(&left, &Watch::nobody()).unwrap();
    assert_eq!(
        (left.code, String::from_utf8_lossy(&left.stdout).as_ref()),
        (1, "")
    );
}
