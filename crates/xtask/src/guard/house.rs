//! The house: every crate, its floor, and what of ours it may import. Tests and benches may import more.

/// A crate of the house.
#[derive(Debug)]
pub(crate) struct Room {
    /// The package's name without `strongroom-`; a `*` at the end stands for any rest.
    pub(crate) name: &'static str,
    pub(crate) floor: u8,
    pub(crate) may_import: Allowed,
}

#[derive(Debug)]
pub(crate) enum Allowed {
    These(&'static [&'static str]),
    /// Every crate below this floor.
    Below(u8),
}

use Allowed::{Below, These};

/// The floor of programs.
pub(crate) const PROGRAMS: u8 = 4;

/// What a driver may import: nothing that knows how a disk is made.
const DRIVER: Allowed = These(&[
    "types",
    "secret",
    "image",
    "host-scheduler",
    "endpoint-selector",
    "storage-pool",
]);

/// What the control plane may import: no particular driver, no host agent, nothing that starts a process.
const CONTROL: Allowed = These(&[
    "types",
    "secret",
    "image",
    "passphrase-store",
    "host-scheduler",
    "endpoint-selector",
    "storage-pool",
]);

#[rustfmt::skip]
pub(crate) const HOUSE: &[Room] = &[
    Room { floor: 0, name: "types",             may_import: These(&[]) },
    Room { floor: 0, name: "secret",            may_import: These(&[]) },
    Room { floor: 0, name: "exec",              may_import: These(&["types"]) },
    Room { floor: 0, name: "image",             may_import: These(&["types", "secret"]) },
    Room { floor: 1, name: "lab",               may_import: These(&["types", "exec"]) },
    Room { floor: 1, name: "qemu-img",          may_import: These(&["types", "secret", "exec"]) },
    Room { floor: 1, name: "cryptsetup",        may_import: These(&["types", "secret", "exec"]) },
    Room { floor: 1, name: "libvirt",           may_import: These(&["types", "secret", "exec"]) },
    Room { floor: 1, name: "passphrase-store",  may_import: These(&["types", "secret"]) },
    Room { floor: 1, name: "host-scheduler",    may_import: These(&["types"]) },
    Room { floor: 1, name: "endpoint-selector", may_import: These(&["types", "secret", "host-scheduler"]) },
    Room { floor: 1, name: "storage-pool",      may_import: These(&["types", "secret", "endpoint-selector"]) },
    Room { floor: 2, name: "host-agent",        may_import: Below(2) },
    Room { floor: 2, name: "remote-endpoint",   may_import: These(&["types", "secret", "endpoint-selector"]) },
    Room { floor: 2, name: "pool-*",            may_import: DRIVER },
    Room { floor: 2, name: "driver-template",   may_import: DRIVER },
    Room { floor: 2, name: "http-drivers",      may_import: DRIVER },
    Room { floor: 2, name: "http-storage",      may_import: These(&[]) },
    Room { floor: 3, name: "control-plane",     may_import: CONTROL },
    Room { floor: PROGRAMS, name: "strongroom", may_import: Below(PROGRAMS) },
    Room { floor: PROGRAMS, name: "examples",   may_import: Below(PROGRAMS) },
    Room { floor: PROGRAMS, name: "xtask",      may_import: These(&[]) },
];

impl Room {
    /// The row of a crate by its name in the table.
    pub(crate) fn of(name: &str) -> Option<&'static Self> {
        HOUSE.iter().find(|room| match room.name.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => room.name == name,
        })
    }

    pub(crate) fn admits(&self, import: &str) -> bool {
        match self.may_import {
            These(names) => names.contains(&import),
            Below(floor) => Self::of(import).is_some_and(|room| room.floor < floor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_import_of_the_table_goes_up() {
        for room in HOUSE {
            if let These(names) = room.may_import {
                for name in names {
                    let imported = Room::of(name).unwrap();
                    assert!(
                        imported.floor <= room.floor,
                        "{} on floor {} -> {name}",
                        room.name,
                        room.floor
                    );
                    assert_ne!(imported.name, room.name, "imports itself");
                }
            }
        }
    }

    #[test]
    fn a_star_stands_for_any_driver_and_for_nothing_else() {
        assert_eq!(Room::of("pool-block").unwrap().name, "pool-*");
        assert_eq!(Room::of("storage-pool").unwrap().name, "storage-pool");
        assert!(Room::of("pool").is_none());
    }
}
