use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, DiskLocation, Endpoint, Protection, VerifyDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, EncryptionFormat, GuestSize};

use crate::rig::{Certificates, memory, remote, serve};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_key_is_in_no_log_and_no_error_of_either_side() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();
    let certificates = Certificates::new();
    let memory = memory();
    let served = serve(&certificates.agent, memory);
    let remote = remote(&served, &certificates.control);
    let canary = "canary-7f3a-in-no-log";
    let key = Passphrase::import(canary.as_bytes().to_vec().into()).unwrap();
    let wrong = Passphrase::import(b"canary-7f3a-wrong".to_vec().into()).unwrap();
    let luks = |key| Protection::Luks {
        format: EncryptionFormat::Luks1,
        key,
    };
    let (path, size) = (Path::new("/srv/secret"), GuestSize::new(1 << 20).unwrap());
    let create = CreateDisk::new(path, DiskFormat::Qcow2, size, luks(&key), DiskContent::Blank);
    remote.run(&Call::new(), &create.into()).unwrap();
    let location = DiskLocation::file(path);
    let verify = VerifyDisk::new(Disk::new(&location, DiskFormat::Qcow2, luks(&wrong)));
    let error = remote.run(&Call::new(), &verify.into()).unwrap_err();
    assert_eq!(error.kind(), strongroom_endpoint_selector::ErrorKind::WrongKey);
    let mut told = format!("{error} {error:?} {remote:?}");
    let mut cause = error.source();
    while let Some(next) = cause {
        told.push_str(&format!(" {next} {next:?}"));
        cause = next.source();
    }
    drop((remote, served));
    told.push_str(&String::from_utf8_lossy(&log.0.lock().unwrap()));
    assert!(told.contains("connected"), "the log has nothing: {told}");
    assert!(!told.contains("canary-7f3a"), "{told}");
}
