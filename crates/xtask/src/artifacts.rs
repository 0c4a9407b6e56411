use std::path::PathBuf;

/// The programs of one package among what `cargo build --message-format=json` says it built, sorted.
pub(crate) fn executables(messages: &str, package: &str) -> Vec<PathBuf> {
    let of_package = format!("{package}@");
    let mut found: Vec<PathBuf> = messages
        .lines()
        .filter(|line| line.contains(r#""reason":"compiler-artifact""#))
        .filter(|line| string_value(line, "package_id").is_some_and(|id| id.contains(&of_package)))
        .filter_map(|line| string_value(line, "executable"))
        .map(PathBuf::from)
        .collect();
    found.sort();
    found
}

/// The first string value under this key in a line of JSON, as cargo writes it: no white space around the colon.
fn string_value(line: &str, key: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!(r#""{key}":""#))?;
    let mut value = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return Some(value),
            '\\' => value.push(characters.next()?),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_programs_of_the_package_and_nothing_else() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","package_id":"path+file:///s/examples#strongroom-examples@0.1.0","executable":"/t/b"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","package_id":"path+file:///s/examples#strongroom-examples@0.1.0","executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","package_id":"path+file:///s/crates/x#x@0.1.0","executable":"/t/x"}"#,
            "\n",
            r#"{"reason":"compiler-message","package_id":"path+file:///s#strongroom-examples@0.1.0","executable":"/t/no"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","package_id":"path+file:///s/examples#strongroom-examples@0.1.0","executable":"/t/a \"q\""}"#,
            "\n",
        );
        let found = executables(messages, "strongroom-examples");
        assert_eq!(found, [PathBuf::from(r#"/t/a "q""#), PathBuf::from("/t/b")]);
    }
}
