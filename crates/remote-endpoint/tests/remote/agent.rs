use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::{
    CreateDisk, DeleteDisk, Disk, DiskContent, DiskLocation, Endpoint, HostAnswer, Protection, VerifyDisk,
};
use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, EncryptionFormat, GuestSize};

use crate::rig::{Certificates, host, remote, serve};

#[test]
fn the_agent_of_a_real_host_makes_proves_and_deletes_an_encrypted_disk() {
    let certificates = Certificates::new();
    let agent = HostAgent::new(host(), ToolPaths::system(), Arc::new(SystemRunner::new()));
    let served = serve(&certificates.agent, Arc::new(agent));
    let remote = remote(&served, &certificates.control);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.qcow2");
    let key = Passphrase::generate().unwrap();
    let luks = Protection::Luks {
        format: EncryptionFormat::Luks1,
        key: &key,
    };
    let size = GuestSize::new(8 << 20).unwrap();
    let run = |command| remote.run(&Call::new(), &command).unwrap();
    run(CreateDisk::new(&path, DiskFormat::Qcow2, size, luks, DiskContent::Blank).into());
    let location = DiskLocation::file(&path);
    let proved = run(VerifyDisk::new(Disk::new(&location, DiskFormat::Qcow2, luks)).into());
    assert!(matches!(proved, HostAnswer::Verified(v) if v.facts.guest == size && !v.checked.is_empty()));
    run(DeleteDisk::new(&path).into());
    assert!(!Path::new(&path).exists());
}
