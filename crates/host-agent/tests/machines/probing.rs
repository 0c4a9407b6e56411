//! What a probe finds out about a hypervisor.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::{ChangeVmDiskKey, Disk, ErrorKind, VerifyDisk};
use strongroom_exec::{Program, SystemRunner};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_lab::LabPlan;
use strongroom_secret::Passphrase;
use strongroom_types::{Call, Capability, CapabilityReport};

use crate::world::{QCOW2, World, luks, refused};

const OF_MACHINES: [Capability; 4] = [
    Capability::EncryptedVms,
    Capability::LiveBlockCopy,
    Capability::MigrationTls,
    Capability::LiveKeyslotChange,
];

fn probe(world: &World, agent: &HostAgent) -> CapabilityReport {
    let facts = agent.probe(&Call::new(), world.host().shared()).unwrap();
    world.no_secrets();
    world.nothing_runs();
    facts.capabilities
}

#[test]
fn each_thing_is_done_with_a_machine_that_is_thrown_away() {
    let world = World::new();
    // Until it was seen to work, the keyslots of an open qcow2 are left alone.
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let new = Passphrase::generate().unwrap();
    let change = ChangeVmDiskKey::new(&world.vm, root.for_guest(), &new);
    world.start_paused(&[root.for_guest()]).unwrap();
    refused(world.run(change), ErrorKind::Unsupported, &["copy the disk"]);
    world.power_off();

    let found = probe(&world, &world.agent);
    for capability in OF_MACHINES {
        assert_eq!(found.why_missing(capability), None, "{capability}");
    }
    let left = std::fs::read_dir(world.host().shared()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["root.qcow2"]);

    let mut guest = world.start(&[root.for_guest()]);
    guest.write_canary("vda", 9, "KEYCANARY").unwrap();
    for _ in 0..2 {
        world.ask(change);
    }
    assert_eq!(guest.read_canary("vda", 9).unwrap(), "KEYCANARY");
    world.power_off();
    world
        .run(VerifyDisk::new(Disk::new(&root.location, QCOW2, luks(&new))))
        .unwrap();
    refused(
        world.run(VerifyDisk::new(root.disk())),
        ErrorKind::WrongKey,
        &["root.qcow2"],
    );
    let text = String::from_utf8(new.expose_secret().to_vec()).unwrap();
    for command in world.runner.commands() {
        assert!(!format!("{command:?}").contains(&text), "a key is in an argument");
    }
}

#[test]
fn a_daemon_that_lets_machines_out_in_clear_or_has_no_certificates_has_no_tls() {
    let plan = LabPlan::new().one_host();
    let no_certificates = plan
        .clone()
        .with_qemu_setting("chardev_tls_x509_cert_dir = \"/tmp\"");
    for (plan, reason) in [
        (plan.without_forced_tls(), "migrate_tls_force"),
        (no_certificates, "Unable to access credentials"),
    ] {
        let world = World::with(plan);
        let found = probe(&world, &world.agent);
        assert!(found.has(Capability::EncryptedVms) && found.has(Capability::LiveKeyslotChange));
        let why = found.why_missing(Capability::MigrationTls).unwrap();
        assert!(why.contains(reason), "{why}");
    }
}

/// A directory of tools that work, but for virsh.
fn tools(place: &Path, virsh: &str) -> ToolPaths {
    for tool in ["qemu-img", "cryptsetup"] {
        let there = place.join(tool);
        if !there.exists() {
            symlink(Program::find(tool).unwrap().path(), there).unwrap();
        }
    }
    let draft = place.join("draft");
    std::fs::write(&draft, virsh).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&draft, place.join("virsh")).unwrap();
    ToolPaths::in_directory(place)
}

#[test]
fn a_virsh_that_lies_crashes_or_floods_makes_a_no_with_the_reason() {
    let (place, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for script in [
        "#!/bin/sh\nexit 0\n",
        "#!/bin/sh\nkill -SEGV $$\n",
        "#!/bin/sh\nexec yes\n",
        "#!/bin/sh\necho error: something unheard of >&2; exit 1\n",
    ] {
        let paths = tools(place.path(), script);
        let agent = HostAgent::new("odd".parse().unwrap(), paths, Arc::new(SystemRunner::new()))
            .with_hypervisor("qemu:///system".parse().unwrap());
        let found = agent.probe(&Call::new(), scratch.path()).unwrap().capabilities;
        assert!(found.encryption_supported(), "{script}");
        for capability in OF_MACHINES {
            let why = found.why_missing(capability).unwrap();
            assert!(!why.is_empty() && why != "not probed", "{script}: {capability}");
        }
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_was_found_holds_until_the_file_of_a_tool_is_another() {
    let (place, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let agent = || {
        let paths = ToolPaths::in_directory(place.path());
        HostAgent::new("odd".parse().unwrap(), paths, Arc::new(SystemRunner::new()))
    };
    tools(place.path(), "#!/bin/sh\nexit 0\n");
    let first = agent();
    assert!(first.needs_probe());
    let facts = first.probe(&Call::new(), scratch.path()).unwrap();
    let later = agent();
    later.restore(facts);
    assert!(!first.needs_probe() && !later.needs_probe());
    tools(place.path(), "#!/bin/sh\nexit 0\n");
    assert!(
        first.needs_probe() && later.needs_probe(),
        "the same words in another file"
    );
    first.probe(&Call::new(), scratch.path()).unwrap();
    assert!(!first.needs_probe());
    std::fs::remove_file(place.path().join("virsh")).unwrap();
    assert!(first.needs_probe());
}
