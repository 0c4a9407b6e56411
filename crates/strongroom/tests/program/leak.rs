//! Keys go through every operation, and are found nowhere but in their sealed records.

use std::collections::HashMap;
use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use base64::Engine;

use crate::machine::{Machine, Outcome, outcome};

/// Notes the arguments and the environment of each tool as the kernel shows them, and every key that is handed over to it;
/// then the real tool goes on.
const WITNESS: &str = r#"{ tr '\0' '\n' < /proc/$$/cmdline; tr '\0' '\n' < /proc/$$/environ; } >> "${0%/*}/../seen"
for fd in /proc/$$/fd/9??; do case "$(readlink "$fd")" in /memfd:passphrase*) { cat "$fd"; echo; } >> "${0%/*}/../keys";; esac; done
exec "$REAL" "$@""#;

/// The length by which a form is looked up.
const PREFIX: usize = 16;

/// Keys in every form in which they could be written down: as they are, in hexadecimal, in base64 at any alignment.
struct Forms {
    by_prefix: HashMap<[u8; PREFIX], Vec<Vec<u8>>>,
    first_two: Vec<bool>,
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

impl Forms {
    fn of(keys: &[Vec<u8>]) -> Self {
        let mut forms = Self {
            by_prefix: HashMap::new(),
            first_two: vec![false; 1 << 16],
        };
        for key in keys {
            forms.add(key.clone());
            forms.add(hex::encode(key).into_bytes());
            forms.add(hex::encode_upper(key).into_bytes());
            for shift in 0..3 {
                // Before and behind it may stand anything: characters that depend on that are left out.
                let text = base64::engine::general_purpose::STANDARD_NO_PAD
                    .encode([&vec![0; shift], &key[..]].concat());
                let (begin, end) = ((shift * 8).div_ceil(6), (shift + key.len()) * 8 / 6);
                forms.add(text.as_bytes()[begin..end].to_vec());
            }
        }
        forms
    }

    fn add(&mut self, form: Vec<u8>) {
        let prefix = form[..PREFIX].try_into().unwrap();
        self.first_two[pair(&form)] = true;
        self.by_prefix.entry(prefix).or_default().push(form);
    }

    fn is_in(&self, text: &[u8]) -> bool {
        text.windows(PREFIX).enumerate().any(|(at, window)| {
            self.first_two[pair(window)]
                && self
                    .by_prefix
                    .get(window)
                    .is_some_and(|forms| forms.iter().any(|form| text[at..].starts_with(form)))
        })
    }
}

/// The files below a directory that were changed since then.
fn files_below(directory: &Path, since: i64, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => files_below(&entry.path(), since, found),
            Ok(meta) if meta.is_file() && meta.ctime() >= since => found.push(entry.path()),
            _ => {}
        }
    }
}

/// A machine whose tools are witnessed, and all that the program said on it.
struct Watched {
    machine: Machine,
    since: i64,
    said: Vec<String>,
}

impl Watched {
    fn new(machine: Machine) -> Self {
        let since = fs::metadata(machine.path()).unwrap().ctime();
        for tool in ["qemu-img", "cryptsetup"] {
            machine.replace_tool(tool, WITNESS);
        }
        Self {
            machine,
            since,
            said: Vec::new(),
        }
    }

    /// Runs the program at its most talkative.
    fn run(&mut self, output: &str, args: &[&str]) -> Outcome {
        let mut command = self.machine.command_as(output, args);
        command.arg("-vv").env("TMPDIR", self.machine.path());
        let done = outcome(&mut command);
        self.said.extend([done.stdout.clone(), done.stderr.clone()]);
        done
    }

    #[track_caller]
    fn works(&mut self, args: &[&str]) {
        let done = self.run("json", args);
        assert_eq!(done.code, Some(0), "{args:?}: {}", done.stderr);
    }

    #[track_caller]
    fn fails(&mut self, args: &[&str]) {
        let done = self.run("table", args);
        assert_eq!(done.code, Some(1), "{args:?}: {}", done.stdout);
    }

    /// The same with a passphrase on standard input, which is a file that has no name.
    fn run_with_passphrase(&mut self, passphrase: &[u8], args: &[&str]) -> Outcome {
        let mut unnamed = tempfile::tempfile_in("/dev/shm").unwrap();
        unnamed.write_all(passphrase).unwrap();
        unnamed.rewind().unwrap();
        let mut command = self.machine.command_as("json", args);
        command.args(["-vv", "--passphrase-fd", "0"]).stdin(unnamed);
        let done = outcome(&mut command);
        self.said.extend([done.stdout.clone(), done.stderr.clone()]);
        done
    }

    /// None of the keys that were handed over is in anything that was said, seen by others, or left in a file.
    fn assert_kept(&self, least: usize) {
        let handed_over = self.machine.path().join("keys");
        let text = fs::read(&handed_over).unwrap();
        let mut keys: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        keys.retain(|key| !key.is_empty());
        keys.sort();
        keys.dedup();
        assert!(keys.len() >= least, "only {} keys were handed over", keys.len());
        let forms = Forms::of(&keys);
        assert!(
            forms.is_in(&text),
            "the search finds nothing even where the keys are"
        );

        for said in &self.said {
            assert!(!forms.is_in(said.as_bytes()), "a key was said: {said}");
        }
        let mut files = Vec::new();
        for place in [
            self.machine.path(),
            Path::new("/tmp"),
            Path::new("/dev/shm"),
            Path::new("/run"),
        ] {
            files_below(place, self.since, &mut files);
        }
        files.retain(|file| *file != handed_over);
        let seen = self.machine.path().join("seen");
        assert!(files.contains(&seen) && files.contains(&self.machine.state().join("strongroom.db")));
        for file in files {
            // What is gone by now was another test's.
            let Ok(bytes) = fs::read(&file) else { continue };
            assert!(!forms.is_in(&bytes), "a key is in {}", file.display());
        }
    }
}

#[test]
fn every_form_of_a_key_is_found() {
    let key: Vec<u8> = (0..64u8)
        .map(|i| b"0123456789abcdef"[usize::from(i.wrapping_mul(7) % 16)])
        .collect();
    let forms = Forms::of(std::slice::from_ref(&key));
    let base64 = |before: &[u8]| {
        base64::engine::general_purpose::STANDARD
            .encode([before, &key, b"after"].concat())
            .into_bytes()
    };
    for text in [
        [b"x", &key[..], b"y"].concat(),
        hex::encode(&key).into_bytes(),
        hex::encode_upper(&key).into_bytes(),
        base64(b""),
        base64(b"k"),
        base64(b"k:"),
        base64(b"abc"),
    ] {
        assert!(forms.is_in(&text), "{}", String::from_utf8_lossy(&text));
    }
    assert!(!forms.is_in(&key[1..]));
}

/// Everything that makes one disk from another, with passphrases of users as well.
fn copies(watched: &mut Watched, image: &str) {
    let passphrase = b"canary: correct horse battery staple\n";
    watched.works(&["template", "add", "t", "--file", image]);
    let create = [
        "volume",
        "create",
        "o",
        "--offering",
        "secret",
        "--size",
        "1M",
        "--template",
        "t",
    ];
    watched.works(&[&create[..], &["--overlay", "--digest"]].concat());
    watched.works(&["volume", "flatten", "o"]);
    watched.works(&["volume", "reinstall", "o", "--template", "t"]);
    watched.works(&["volume", "clone", "o", "twin", "--digest"]);
    watched.works(&["volume", "move", "twin", "--to", "main", "--format", "raw"]);
    watched.works(&["volume", "resize", "twin", "512K", "--shrink"]);
    watched.works(&["volume", "verify", "o", "--digest"]);
    let sealed = watched.machine.path().join("sealed.qcow2");
    let sealed = sealed.to_str().unwrap();
    let done = watched.run_with_passphrase(passphrase, &["volume", "export", "o", "--to", sealed]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let import = [
        "volume",
        "import",
        "back",
        "--offering",
        "secret",
        "--from",
        sealed,
    ];
    let refused = watched.run_with_passphrase(b"canary: another passphrase\n", &import);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    let done = watched.run_with_passphrase(passphrase, &import);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let clear = watched.machine.path().join("clear.raw");
    let clear = clear.to_str().unwrap();
    watched.works(&[
        "volume",
        "export",
        "o",
        "--to",
        clear,
        "--format",
        "raw",
        "--declassify",
        "a test",
    ]);
    watched.fails(&[
        "volume",
        "export",
        "o",
        "--to",
        clear,
        "--format",
        "raw",
        "--declassify",
        "a test",
    ]);
    for volume in ["back", "twin", "o"] {
        watched.works(&["volume", "delete", volume]);
    }
    watched.works(&["template", "remove", "t"]);
    let handed_over = fs::read(watched.machine.path().join("keys")).unwrap();
    let text = String::from_utf8(handed_over).unwrap();
    assert!(
        text.contains("canary: correct horse"),
        "the witness saw no passphrase of a user"
    );
}

#[test]
fn no_operation_lets_a_key_out() {
    let mut watched = Watched::new(Machine::new());
    let template = watched.machine.path().join("template.raw");
    fs::write(&template, vec![42; 1 << 20]).unwrap();
    let template = template.to_str().unwrap().to_owned();
    watched.works(&["host", "probe"]);
    for (volume, offering) in [("q", "secret"), ("r", "secret-raw")] {
        watched.works(&[
            "volume",
            "create",
            volume,
            "--offering",
            offering,
            "--size",
            "1M",
            "--image",
            &template,
        ]);
        watched.works(&["volume", "verify", volume]);
        watched.works(&["volume", "resize", volume, "2M"]);
        watched.fails(&["volume", "resize", volume, "1M"]);
        watched.works(&["volume", "show", volume]);
    }
    watched.works(&["volume", "snapshot", "q", "s"]);
    watched.works(&["volume", "restore", "q", "s"]);
    watched.fails(&["volume", "restore", "q", "none"]);
    watched.fails(&["volume", "snapshot", "r", "s"]);
    let backup = watched.machine.path().join("r.luks");
    watched.works(&["volume", "back-up-header", "r", "--to", backup.to_str().unwrap()]);
    watched.works(&["volume", "list"]);
    copies(&mut watched, &template);

    // Tools that die with the key in hand, and one that repeats what it was given.
    for script in ["exit 1", "kill -SEGV $$", "echo \"$@\" >&2; exit 2"] {
        for tool in ["qemu-img", "cryptsetup"] {
            let witness = WITNESS.rsplit_once('\n').unwrap().0;
            watched
                .machine
                .replace_tool(tool, &format!("{witness}\n{script}"));
        }
        watched.fails(&["volume", "verify", "q"]);
        watched.fails(&[
            "volume",
            "create",
            "v",
            "--offering",
            "secret-raw",
            "--size",
            "1M",
        ]);
    }
    for tool in ["qemu-img", "cryptsetup"] {
        watched.machine.replace_tool(tool, WITNESS);
    }
    watched.works(&["volume", "delete", "q"]);
    watched.works(&["volume", "delete", "r"]);
    // Two volumes, the keys that were refused on purpose, and those of the probe.
    watched.assert_kept(4);
}

#[test]
fn the_demo_lets_no_key_out() {
    let mut watched = Watched::new(Machine::bare());
    watched.works(&["demo", "--keep"]);
    watched.assert_kept(5);
}
