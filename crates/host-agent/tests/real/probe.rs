//! What this machine can do, and what one without tools cannot.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_types::{Call, Capability};

use crate::bench::Bench;

#[test]
fn a_probe_does_each_thing_and_leaves_nothing() {
    let bench = Bench::new();
    let facts = bench.agent.probe(&Call::new(), bench.place.path()).unwrap();
    assert!(facts.capabilities.encryption_supported(), "{facts:?}");
    for capability in [
        Capability::PlainImages,
        Capability::EncryptedOverlay,
        Capability::Luks2,
        Capability::DetachedHeader,
        Capability::KeyslotChange,
    ] {
        assert_eq!(facts.capabilities.why_missing(capability), None);
    }
    // Opening it loads the driver, where the kernel has one.
    let mapper = std::fs::File::open("/dev/mapper/control").is_ok();
    assert_eq!(facts.capabilities.has(Capability::DmCrypt), mapper);
    assert!(facts.tools["qemu-img"].contains("version"), "{:?}", facts.tools);
    assert!(
        facts.tools["cryptsetup"].contains("cryptsetup"),
        "{:?}",
        facts.tools
    );
    assert!(facts.free_memory.get() > 0 && facts.free_cores > 0);
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn tools_that_are_missing_lie_or_crash_make_a_no_with_the_reason() {
    let bench = Bench::new();
    let tools = bench.path("tools");
    std::fs::create_dir(&tools).unwrap();
    let probe = || {
        let agent = HostAgent::new(
            "odd".parse().unwrap(),
            ToolPaths::in_directory(&tools),
            Arc::new(SystemRunner::new()),
        );
        agent.probe(&Call::new(), bench.place.path()).unwrap()
    };
    let missing = probe();
    for capability in [Capability::Qcow2Luks, Capability::RawLuks1, Capability::Luks2] {
        let why = missing.capabilities.why_missing(capability).unwrap();
        assert!(
            why.contains("does not exist") && why.contains("Debian"),
            "{capability}: {why}"
        );
    }
    for script in [
        "#!/bin/sh\nexit 0\n",
        "#!/bin/sh\nkill -SEGV $$\n",
        "#!/bin/sh\necho '{}'\n",
    ] {
        for tool in ["qemu-img", "cryptsetup"] {
            let draft = bench.path("draft");
            std::fs::write(&draft, script).unwrap();
            std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(&draft, tools.join(tool)).unwrap();
        }
        let odd = probe();
        for capability in Capability::ALL {
            assert!(!odd.capabilities.has(capability), "{script:?}: {capability}");
        }
    }
    assert_eq!(bench.names(), ["tools"]);
}
