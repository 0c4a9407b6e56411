use std::collections::BTreeSet;

use super::Violation;
use crate::packages::{ESSENTIAL, PACKAGES};

/// The longest that a source file of a crate may be, in lines. Past it, it has more than one idea.
const LONGEST: usize = 400;

/// File names that say nothing of what is inside.
const DRAWERS: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "shared"];

/// Directories that only one person's machine has.
const MACHINE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
];

/// Ways to switch a test off without a word.
const SWITCHED_OFF: &[&str] = &[
    concat!("#[", "ignore"),
    concat!("```", "ignore"),
    concat!("```rust,", "ignore"),
];

/// How a program is looked up, up to the name.
const LOOKED_UP: &str = concat!("Program::", "find(\"");

/// A file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct TrackedFile {
    /// From the root of the checkout.
    pub(crate) path: String,
    /// Nothing when it is not UTF-8.
    pub(crate) text: Option<String>,
}

/// Where files lie and what they may not say.
pub(crate) fn check(files: &[TrackedFile]) -> Vec<Violation> {
    let mut violations = missing_readmes(files);
    for file in files {
        violations.extend(named_for_an_idea(file));
        violations.extend(short_enough(file));
        violations.extend(no_machine_paths(file));
        violations.extend(no_test_switched_off(file));
        violations.extend(programs_have_packages(file));
    }
    violations
}

fn missing_readmes(files: &[TrackedFile]) -> Vec<Violation> {
    let crates: BTreeSet<&str> = files
        .iter()
        .filter_map(|f| f.path.strip_suffix("/Cargo.toml"))
        .collect();
    let wanted = crates
        .into_iter()
        .filter(|dir| dir.starts_with("crates/") && *dir != "crates/xtask");
    wanted
        .filter(|dir| !files.iter().any(|f| f.path == format!("{dir}/README.md")))
        .map(|dir| Violation::new(dir, "has no README.md"))
        .collect()
}

fn named_for_an_idea(file: &TrackedFile) -> Option<Violation> {
    let name = file.path.strip_suffix(".rs")?.rsplit('/').next()?;
    if name == "mod" {
        Some(Violation::new(
            &*file.path,
            "call it after its module, next to the directory: no mod.rs",
        ))
    } else if DRAWERS.contains(&name) {
        Some(Violation::new(
            &*file.path,
            format!("`{name}` is a drawer: name the file for its one idea"),
        ))
    } else {
        None
    }
}

fn short_enough(file: &TrackedFile) -> Option<Violation> {
    let inside = file.path.strip_prefix("crates/")?.split_once('/')?.1;
    let lines = file.text.as_ref()?.lines().count();
    let too_long = inside.starts_with("src/") && inside.ends_with(".rs") && lines > LONGEST;
    too_long.then(|| {
        Violation::new(
            &*file.path,
            format!("has {lines} lines, more than {LONGEST}: split it by ideas"),
        )
    })
}

fn no_machine_paths(file: &TrackedFile) -> Vec<Violation> {
    lines(file)
        .filter_map(|(number, line)| {
            let path = MACHINE.iter().find(|path| names_absolute(line, path))?;
            Some(Violation::new(
                format!("{}:{number}", file.path),
                format!("names {path}, which only one machine has"),
            ))
        })
        .collect()
}

/// Whether the path stands there from its beginning, and not as the tail of a longer one.
fn names_absolute(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.~})]>*".contains(c))
    })
}

fn no_test_switched_off(file: &TrackedFile) -> Vec<Violation> {
    lines(file)
        .filter_map(|(number, line)| {
            let how = SWITCHED_OFF.iter().find(|how| line.contains(*how))?;
            Some(Violation::new(
                format!("{}:{number}", file.path),
                format!("`{how}` switches a test off: nothing skips"),
            ))
        })
        .collect()
}

/// What the code looks up, `cargo xtask setup` has to bring.
fn programs_have_packages(file: &TrackedFile) -> Vec<Violation> {
    if !file.path.ends_with(".rs") {
        return Vec::new();
    }
    let known = |name: &str| ESSENTIAL.contains(&name) || PACKAGES.iter().any(|p| p.brings.contains(&name));
    lines(file)
        .flat_map(|(number, line)| line.split(LOOKED_UP).skip(1).map(move |rest| (number, rest)))
        .filter_map(|(number, rest)| Some((number, rest.split_once('"')?.0)))
        .filter(|(_, name)| !known(name) && !name.starts_with("no-such-"))
        .map(|(number, name)| {
            let what = format!("looks up `{name}`, which no package in crates/xtask/src/packages.rs brings");
            Violation::new(format!("{}:{number}", file.path), what)
        })
        .collect()
}

fn lines(file: &TrackedFile) -> impl Iterator<Item = (usize, &str)> {
    file.text
        .iter()
        .flat_map(|text| text.lines())
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TrackedFile {
        TrackedFile {
            path: path.to_owned(),
            text: Some(text.to_owned()),
        }
    }

    fn found(files: &[TrackedFile]) -> Vec<String> {
        check(files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_crate_without_a_readme_is_found() {
        let manifest = file("crates/new/Cargo.toml", "");
        assert_eq!(
            found(std::slice::from_ref(&manifest)),
            ["crates/new: has no README.md"]
        );
        assert_eq!(found(&[manifest, file("crates/new/README.md", "")]), [""; 0]);
        assert_eq!(found(&[file("crates/xtask/Cargo.toml", "")]), [""; 0]);
    }

    #[test]
    fn a_file_that_is_not_named_for_an_idea_is_found() {
        for name in ["mod", "utils", "helpers", "common", "misc"] {
            for place in [
                "crates/a/src",
                "crates/a/src/deep",
                "crates/a/tests",
                "examples/src/bin",
            ] {
                let path = format!("{place}/{name}.rs");
                assert_eq!(found(&[file(&path, "")]).len(), 1, "{path}");
            }
        }
        assert_eq!(
            found(&[file("crates/a/src/model.rs", ""), file("docs/common.md", "")]),
            [""; 0]
        );
    }

    #[test]
    fn a_source_file_past_the_limit_is_found() {
        let (fits, too_long) = ("x\n".repeat(LONGEST), "x\n".repeat(LONGEST + 1));
        assert_eq!(
            found(&[
                file("crates/a/src/b.rs", &fits),
                file("crates/a/tests/b.rs", &too_long)
            ]),
            [""; 0]
        );
        let expected = "crates/a/src/b/c.rs: has 401 lines, more than 400: split it by ideas";
        assert_eq!(found(&[file("crates/a/src/b/c.rs", &too_long)]), [expected]);
    }

    #[test]
    fn a_path_that_only_one_machine_has_is_found() {
        for path in MACHINE {
            for line in [
                format!("see {path}me/x"),
                format!("\"{path}\""),
                format!("{path}x"),
                format!("file://{path}x"),
            ] {
                let text = format!("fine\n{line}\n");
                let expected = format!("docs/a.md:2: names {path}, which only one machine has");
                assert_eq!(found(&[file("docs/a.md", &text)]), [expected], "{line}");
            }
            let tail = format!("target{path}x, ~{path}x, <dir>{path}x, {{dir}}{path}x");
            assert_eq!(found(&[file("docs/a.md", &tail)]), [""; 0], "{tail}");
        }
    }

    #[test]
    fn a_test_that_is_switched_off_is_found() {
        for how in SWITCHED_OFF {
            let text = format!("\n{how}]\n");
            let expected = format!("crates/a/src/b.rs:2: `{how}` switches a test off: nothing skips");
            assert!(
                found(&[file("crates/a/src/b.rs", &text)]).contains(&expected),
                "{how}"
            );
        }
    }

    #[test]
    fn a_program_without_a_package_is_found() {
        let text = format!("let p = {LOOKED_UP}qemu-nbd\")?; {LOOKED_UP}qemu-img\")");
        let expected = "crates/a/src/b.rs:1: looks up `qemu-nbd`, which no package in crates/xtask/src/packages.rs brings";
        assert_eq!(found(&[file("crates/a/src/b.rs", &text)]), [expected]);
        let fine = format!("{LOOKED_UP}sh\") {LOOKED_UP}no-such-tool\") {LOOKED_UP}mkfs.ext4\")");
        assert_eq!(found(&[file("crates/a/src/b.rs", &fine)]), [""; 0]);
    }

    #[test]
    fn a_file_that_is_not_text_breaks_no_rule_of_text() {
        assert_eq!(
            found(&[TrackedFile {
                path: "crates/a/src/b.rs".to_owned(),
                text: None
            }]),
            [""; 0]
        );
    }
}
