use std::collections::BTreeSet;

/// What a crate imports, tests and benches aside.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct CrateImports {
    pub(crate) name: String,
    /// What its own manifest names.
    pub(crate) direct: BTreeSet<String>,
    /// All that gets compiled with it, itself aside.
    pub(crate) reached: BTreeSet<String>,
}

/// One crate's tree as `cargo tree --prefix depth` prints it: the depth, the name, the version.
pub(crate) fn read(tree: &str) -> Option<CrateImports> {
    let mut imports = CrateImports::default();
    for line in tree
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
    {
        let named = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let depth: u32 = line.strip_suffix(named)?.parse().ok()?;
        let name = named.split_whitespace().next()?.to_owned();
        match depth {
            0 => imports.name = name,
            1 => {
                imports.direct.insert(name.clone());
                imports.reached.insert(name);
            }
            _ => {
                imports.reached.insert(name);
            }
        }
    }
    (!imports.name.is_empty()).then_some(imports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cargo_tree_prints() {
        let tree = "0strongroom-exec v0.1.0 (/s/crates/exec)\n\
                    1command-fds v0.3.3\n\
                    2rustix v1.1.6\n\
                    10deep v1.0.0 (proc-macro)\n\
                    1strongroom-types v0.1.0 (/s/crates/types)\n\
                    2rustix v1.1.6 (*)\n";
        let imports = read(tree).unwrap();
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(imports.name, "strongroom-exec");
        assert_eq!(imports.direct, set(&["command-fds", "strongroom-types"]));
        assert_eq!(
            imports.reached,
            set(&["command-fds", "strongroom-types", "rustix", "deep"])
        );
    }

    #[test]
    fn an_empty_tree_is_no_crate() {
        assert_eq!(read(""), None);
    }
}
