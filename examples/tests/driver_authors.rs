//! `docs/driver-authors.md` shows code that compiles and names every check.
#![cfg(test)]

use std::path::Path;

use strongroom_pool_conformance::{Needs, checks};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(checkout().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The lines without what is around them: an excerpt may be indented otherwise.
fn lines(text: &str) -> String {
    text.lines().map(|line| line.trim().to_owned() + "\n").collect()
}

#[test]
fn every_block_of_code_is_an_excerpt_of_a_file_that_is_compiled() {
    let page = read("docs/driver-authors.md");
    let blocks: Vec<&str> = page.split("```rust\n").collect();
    assert!(blocks.len() > 10, "{} blocks", blocks.len() - 1);
    for pair in blocks.windows(2) {
        let source = pair[0].lines().next_back().unwrap();
        let source = source
            .strip_prefix("<!-- from ")
            .and_then(|s| s.strip_suffix(" -->"));
        let code = pair[1].split_once("```").unwrap().0;
        let source = source.unwrap_or_else(|| panic!("no source is named before:\n{code}"));
        assert!(
            lines(&read(source)).contains(&lines(code)),
            "{source} has not:\n{code}"
        );
    }
}

#[test]
fn every_check_of_the_suite_has_its_row_with_its_sentence() {
    let page = read("docs/driver-authors.md");
    let (_, table) = page.split_once("### Every check").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = checks()
        .iter()
        .map(|check| {
            let pools = match check.needs {
                Needs::Nothing => "all".to_owned(),
                needs => needs.to_string(),
            };
            format!("| `{}` | {pools} | {} |", check.name, check.sentence)
        })
        .collect();
    assert!(rows == expected, "the table should be\n{}", expected.join("\n"));
}

#[test]
fn every_place_to_fill_in_is_in_the_list_of_the_template() {
    let list = read("examples/driver-template/README.md");
    let rows: Vec<&str> = list
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains(", `"))
        .collect();
    assert!(!rows.is_empty());
    for (number, row) in (1..).zip(&rows) {
        let (place, path) = row.trim_start_matches("| ").split_once(", `").unwrap();
        assert_eq!(place, number.to_string());
        let path = path.split_once('`').unwrap().0;
        let marked = read(&format!("examples/driver-template/{path}"));
        assert!(
            marked.contains(&format!("FILL IN {number}: ")),
            "{path} has no FILL IN {number}"
        );
    }
}
