//! The same storage service with a driver that has a host encrypt: the service has a LUKS disk and never sees the key.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::fs;
use std::sync::Arc;

use strongroom_endpoint_selector::{
    CompareContent, Disk, Endpoint, HostAnswer, Protection, RegisteredEndpoints, Sameness, SourceImage,
};
use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_http_drivers::OnHostPool;
use strongroom_http_storage::Service;
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{CreateVolume, OpContext, PoolDriver, Template, VolumeContent, VolumeKey};
use strongroom_types::{Call, DiskFormat, EncryptionFormat, GuestSize, HostId, VolumeId};

const TEXT: &[u8] = b"what the template says; ";

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let service = Service::start(directory.path(), "127.0.0.1:0".parse()?)?;
    let pool = OnHostPool::new("shelf".parse()?, service.address());

    // This machine, probed, as a host that reaches the storage.
    let (node, call): (HostId, _) = ("node-1".parse()?, Call::new());
    let agent = Arc::new(HostAgent::new(
        node.clone(),
        ToolPaths::system(),
        Arc::new(SystemRunner::new()),
    ));
    agent.probe(&call, directory.path())?;
    agent.reach(pool.pool().clone());
    let mut hosts = RegisteredEndpoints::new();
    hosts.register(agent.clone());
    let cx = OpContext::new(&call, &hosts);

    let template = directory.path().join("template.raw");
    // As large as the volume: what is never written to a LUKS disk reads as noise.
    let content = TEXT.repeat(1 << 16);
    fs::write(&template, &content)?;
    let image = SourceImage::new(&template, DiskFormat::Raw);
    let (volume, key): (VolumeId, _) = ("root-1".parse()?, Passphrase::generate()?);
    let request = |key| {
        let size = GuestSize::new(content.len() as u64);
        let template = VolumeContent::Template(Template::unnamed(image));
        size.map(|size| CreateVolume::new(&volume, size, DiskFormat::Raw, key, template))
    };
    // The answer of each first request is lost on the way. The driver asks again.
    service.lose_answers(1);
    let made = pool.create(&cx, &request(VolumeKey::Encrypted(&key))?)?;
    println!(
        "made {}: the guest sees {}, the storage provides {}",
        made.id, made.guest, made.device
    );

    let place = pool.attach(&cx, &volume, &node)?;
    let kept = fs::read(directory.path().join("volumes/root-1/blocks"))?;
    let is_luks = kept.starts_with(b"LUKS\xba\xbe");
    let in_clear = kept.windows(TEXT.len()).any(|window| window == TEXT);
    println!("the storage has a LUKS disk: {is_luks}, with the template in clear: {in_clear}");

    let luks = Protection::Luks {
        format: EncryptionFormat::Luks1,
        key: &key,
    };
    let disk = Disk::new(&place.location, place.format, luks);
    let same = CompareContent::new(disk, image.into());
    let same = match agent.run(&call, &same.into())? {
        HostAnswer::Compared(sameness) => sameness == Sameness::Identical,
        other => return Err(format!("not an answer to that: {other:?}").into()),
    };
    println!("through the key the content is the template and nothing else: {same}");

    let other = Passphrase::generate()?;
    let wrong = pool.create(&cx, &request(VolumeKey::Encrypted(&other))?);
    let wrong = wrong.err().map(|e| e.kind());
    println!("another key: {wrong:?}");
    pool.detach(&cx, &volume, &node)?;
    pool.delete(&cx, &volume)?;
    let left = fs::read_dir(directory.path().join("volumes"))?.count();
    println!("after the delete the storage has {left} volumes");
    if is_luks && !in_clear && wrong == Some(strongroom_storage_pool::ErrorKind::WrongKey) && left == 0 {
        Ok(())
    } else {
        Err("a check did not hold".into())
    }
}
