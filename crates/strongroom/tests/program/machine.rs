//! A state directory, a pool, and tools that a test can make fail.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// It succeeded, and this is its JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    /// It failed, and its message has all of these words.
    #[track_caller]
    pub(crate) fn refused(&self, words: &[&str]) {
        assert_eq!(
            self.code,
            Some(1),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {:?}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// A machine of its own: state directory, pool directory, and a directory of tools.
#[derive(Debug)]
pub(crate) struct Machine {
    place: TempDir,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the program under test is started as a user starts it"
)]
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom"));
    command.stdin(Stdio::null());
    command
}

impl Machine {
    /// A probed host, a pool `main`, and offerings `plain`, `secret` (qcow2) and `secret-raw`.
    pub(crate) fn new() -> Self {
        let machine = Self::bare();
        machine.ok(&["host", "probe"]);
        machine.with_pool_and_offerings()
    }

    /// Nothing but directories.
    pub(crate) fn bare() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("pool")).unwrap();
        let machine = Self { place };
        machine.restore_tools();
        machine
    }

    pub(crate) fn with_pool_and_offerings(self) -> Self {
        self.ok(&[
            "pool",
            "add",
            "main",
            "--directory",
            self.pool().to_str().unwrap(),
        ]);
        self.ok(&["offering", "create", "plain"]);
        self.ok(&["offering", "create", "secret", "--encrypt"]);
        self.ok(&["offering", "create", "secret-raw", "--encrypt", "--format", "raw"]);
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    pub(crate) fn pool(&self) -> PathBuf {
        self.place.path().join("pool")
    }

    pub(crate) fn tools(&self) -> PathBuf {
        self.place.path().join("tools")
    }

    /// The file of a volume, whatever its ending.
    pub(crate) fn disk(&self, volume: &str) -> PathBuf {
        let prefix = format!("{volume}.");
        let found: Vec<_> = self
            .pool_files()
            .into_iter()
            .filter(|f| f.starts_with(&prefix))
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        self.pool().join(&found[0])
    }

    /// The names in the pool.
    pub(crate) fn pool_files(&self) -> Vec<String> {
        volume_files(&self.pool())
    }

    /// The tools are the real ones.
    pub(crate) fn restore_tools(&self) {
        let _ = fs::remove_dir_all(self.tools());
        fs::create_dir(self.tools()).unwrap();
        for (tool, path) in [
            ("qemu-img", "/usr/bin/qemu-img"),
            ("cryptsetup", "/usr/sbin/cryptsetup"),
        ] {
            assert!(
                Path::new(path).exists(),
                "{tool} is missing: cargo xtask setup installs it"
            );
            std::os::unix::fs::symlink(path, self.tools().join(tool)).unwrap();
        }
    }

    /// The tool is this shell script; `"$REAL"` in it is the real one.
    pub(crate) fn replace_tool(&self, tool: &str, script: &str) {
        let path = self.tools().join(tool);
        let real = if tool == "qemu-img" {
            "/usr/bin/qemu-img"
        } else {
            "/usr/sbin/cryptsetup"
        };
        let _ = fs::remove_file(&path);
        // Written under another name first: a script that is still open for writing somewhere cannot be executed.
        let draft = self.place.path().join(format!("{tool}.draft"));
        fs::write(&draft, format!("#!/bin/sh\nREAL={real}\n{script}\n")).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&draft, &path).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_as("json", args)
    }

    /// The program with this kind of output.
    pub(crate) fn command_as(&self, output: &str, args: &[&str]) -> Command {
        let mut command = program();
        command
            .arg("--state")
            .arg(self.state())
            .arg("--tools")
            .arg(self.tools())
            .args(["--output", output])
            .args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        outcome(&mut self.command(args))
    }

    /// Starts the program and does not wait.
    pub(crate) fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Value {
        self.run(args).json()
    }

    #[track_caller]
    pub(crate) fn create(&self, volume: &str, offering: &str, size: &str) -> Value {
        self.ok(&["volume", "create", volume, "--offering", offering, "--size", size])
    }

    /// Every volume in the list is ready and proves itself, and the pool has one file for each and nothing else.
    #[track_caller]
    pub(crate) fn assert_sound(&self) -> Vec<String> {
        let list = self.ok(&["volume", "list"]);
        let mut ids: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        for id in &ids {
            self.ok(&["volume", "verify", id]);
        }
        let stems: Vec<_> = self
            .pool_files()
            .iter()
            .map(|name| name.split('.').next().unwrap().to_owned())
            .collect();
        let mut disks: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .filter(|v| v["pool"] == "main")
            .map(|v| v["disk"].as_str().unwrap().to_owned())
            .collect();
        disks.sort();
        assert_eq!(stems, disks, "files in the pool and volumes in the list");
        assert_eq!(
            self.count("passphrases"),
            self.encrypted(&list),
            "one key for each encrypted volume"
        );
        assert_eq!(self.count("jobs"), 0, "unfinished jobs");
        ids
    }

    fn encrypted(&self, list: &Value) -> i64 {
        list.as_array()
            .unwrap()
            .iter()
            .filter(|v| !v["encryption"].is_null())
            .count()
            .try_into()
            .unwrap()
    }

    /// The number of rows in a table of the state database.
    pub(crate) fn count(&self, table: &str) -> i64 {
        let database = rusqlite::Connection::open(self.state().join("strongroom.db")).unwrap();
        database
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
            .unwrap()
    }
}

/// Whether this is where a killed process tried out what the file system lets it do. The next sweep of the pool takes it; it was no work
/// on a volume, so that no job asks for that.
fn is_trial(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.starts_with(".strongroom-staging-")
        && fs::read_dir(path).is_ok_and(|mut inside| inside.all(|e| e.unwrap().file_name() == "trial"))
}

/// The names in a pool's directory, but for its mark and its templates.
pub(crate) fn volume_files(directory: &Path) -> Vec<String> {
    let others = ["lost+found", ".strongroom-pool", "templates"];
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| !is_trial(&e.path()))
        .map(|e| e.file_name().into_string().unwrap())
        .filter(|n| !others.contains(&n.as_str()))
        .collect();
    names.sort();
    names
}

pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let done = command.output().unwrap();
    Outcome {
        code: done.status.code(),
        stdout: String::from_utf8(done.stdout).unwrap(),
        stderr: String::from_utf8(done.stderr).unwrap(),
    }
}

/// Runs a real tool for a test's own preparations.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "a test prepares its input with tools, as a user would"
)]
pub(crate) fn tool(name: &str, args: &[&str]) -> Vec<u8> {
    let done = Command::new(name)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(
        done.status.success(),
        "{name} {args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    done.stdout
}

/// A tool for a test's own preparations, to be started by it.
#[expect(
    clippy::disallowed_methods,
    reason = "a test prepares its surroundings with tools, as a user would"
)]
pub(crate) fn command(name: &str) -> Command {
    Command::new(name)
}

/// A file system in memory, mounted until this is dropped.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    pub(crate) fn tmpfs(directory: &Path) -> Self {
        tool("mount", &["-t", "tmpfs", "none", directory.to_str().unwrap()]);
        Self(directory.to_owned())
    }

    /// Shows a directory at another path as well.
    pub(crate) fn again(directory: &Path, at: &Path) -> Self {
        let (from, to) = (directory.to_str().unwrap(), at.to_str().unwrap());
        tool("mount", &["--bind", from, to]);
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(command("umount").arg("--lazy").arg(&self.0).status());
    }
}

/// Whether this is root, which mounts and loop devices need.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
