use super::Violation;
use super::graph::CrateImports;
use super::house::{PROGRAMS, Room};

/// What only programs may import, themselves.
const FOR_PROGRAMS_ONLY: &[&str] = &["anyhow", "clap"];

/// Async runtimes. A library that brings one forces it on whoever imports that library.
const RUNTIMES: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "async-executor",
    "futures-executor",
    "monoio",
    "glommio",
];

/// Who imports whom.
pub(crate) fn check(crates: &[CrateImports]) -> Vec<Violation> {
    crates.iter().flat_map(check_one).collect()
}

fn check_one(imports: &CrateImports) -> Vec<Violation> {
    let found = |what: String| Violation::new(imports.name.clone(), what);
    let Some(room) = ours(&imports.name).and_then(Room::of) else {
        return vec![found(
            "has no row in the table of the house, crates/xtask/src/guard/house.rs".to_owned(),
        )];
    };
    let mut violations = Vec::new();
    for import in &imports.direct {
        if let Some(name) = ours(import)
            && !room.admits(name)
        {
            violations.push(found(format!(
                "may not import {import}, by the table of the house"
            )));
        }
        if room.floor < PROGRAMS && FOR_PROGRAMS_ONLY.contains(&import.as_str()) {
            violations.push(found(format!(
                "may not import {import}: it is for programs, on floor {PROGRAMS}"
            )));
        }
        if room.name == "xtask" {
            violations.push(found(format!(
                "may not import {import}: it has the standard library only"
            )));
        }
    }
    if room.floor < PROGRAMS {
        for runtime in imports
            .reached
            .iter()
            .filter(|name| RUNTIMES.contains(&name.as_str()))
        {
            violations.push(found(format!(
                "brings the async runtime {runtime}: libraries are synchronous"
            )));
        }
    }
    violations
}

/// The name in the table, for a package of ours.
fn ours(package: &str) -> Option<&str> {
    match package {
        "strongroom" | "xtask" => Some(package),
        _ => package.strip_prefix("strongroom-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(name: &str, direct: &[&str], deeper: &[&str]) -> Vec<String> {
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let reached = [direct, deeper].concat();
        let imports = CrateImports {
            name: name.to_owned(),
            direct: set(direct),
            reached: set(&reached),
        };
        check(&[imports]).into_iter().map(|v| v.what).collect()
    }

    #[test]
    fn each_import_that_goes_against_the_house_is_found() {
        let cases: &[(&str, &str)] = &[
            ("strongroom-types", "strongroom-secret"),
            ("strongroom-secret", "strongroom-types"),
            ("strongroom-exec", "strongroom-secret"),
            ("strongroom-image", "strongroom-exec"),
            ("strongroom-qemu-img", "strongroom-cryptsetup"),
            ("strongroom-cryptsetup", "strongroom-qemu-img"),
            ("strongroom-passphrase-store", "strongroom-exec"),
            ("strongroom-host-scheduler", "strongroom-secret"),
            ("strongroom-endpoint-selector", "strongroom-storage-pool"),
            ("strongroom-storage-pool", "strongroom-host-scheduler"),
            ("strongroom-host-agent", "strongroom-pool-file"),
            ("strongroom-pool-file", "strongroom-exec"),
            ("strongroom-pool-file", "strongroom-qemu-img"),
            ("strongroom-pool-anything-new", "strongroom-cryptsetup"),
            ("strongroom-pool-conformance", "strongroom-host-agent"),
            ("strongroom-control-plane", "strongroom-pool-file"),
            ("strongroom-control-plane", "strongroom-host-agent"),
            ("strongroom-control-plane", "strongroom-exec"),
            ("strongroom-control-plane", "strongroom-qemu-img"),
            ("strongroom-examples", "strongroom"),
            ("xtask", "strongroom-types"),
        ];
        for (name, import) in cases {
            let found = violations(name, &[import], &[]);
            let expected = format!("may not import {import}, by the table of the house");
            assert!(found.contains(&expected), "{name} -> {import}: {found:?}");
        }
    }

    #[test]
    fn what_the_house_allows_is_not_found() {
        let cases: &[(&str, &[&str])] = &[
            ("strongroom-exec", &["strongroom-types", "rustix"]),
            ("strongroom-endpoint-selector", &["strongroom-host-scheduler"]),
            (
                "strongroom-host-agent",
                &[
                    "strongroom-cryptsetup",
                    "strongroom-exec",
                    "strongroom-endpoint-selector",
                ],
            ),
            (
                "strongroom-pool-file",
                &["strongroom-storage-pool", "strongroom-secret"],
            ),
            (
                "strongroom-control-plane",
                &["strongroom-storage-pool", "strongroom-passphrase-store"],
            ),
            (
                "strongroom",
                &[
                    "strongroom-control-plane",
                    "strongroom-pool-file",
                    "clap",
                    "anyhow",
                ],
            ),
            ("strongroom-examples", &["strongroom-qemu-img", "tokio"]),
        ];
        for (name, imports) in cases {
            assert_eq!(violations(name, imports, &[]), [""; 0], "{name}");
        }
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_found() {
        for name in ["strongroom-drawer", "something-else"] {
            let found = violations(name, &[], &[]);
            assert_eq!(
                found,
                ["has no row in the table of the house, crates/xtask/src/guard/house.rs"]
            );
        }
    }

    #[test]
    fn what_is_for_programs_stays_out_of_libraries() {
        for import in FOR_PROGRAMS_ONLY {
            let found = violations("strongroom-control-plane", &[import], &[]);
            assert_eq!(
                found,
                [format!("may not import {import}: it is for programs, on floor 4")]
            );
        }
    }

    #[test]
    fn a_runtime_is_found_however_deep_it_comes_in() {
        for runtime in RUNTIMES {
            let found = violations("strongroom-exec", &["innocent"], &[runtime]);
            assert_eq!(
                found,
                [format!(
                    "brings the async runtime {runtime}: libraries are synchronous"
                )]
            );
        }
    }

    #[test]
    fn xtask_has_the_standard_library_only() {
        let found = violations("xtask", &["serde_json"], &[]);
        assert_eq!(
            found,
            ["may not import serde_json: it has the standard library only"]
        );
    }
}
