//! NFS in a guest: a server that is a process, and the kernel's client.
#![cfg(test)]

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use strongroom_exec::{CommandSpec, Completed, Program, RunError, Runner, SystemRunner, Watch};
use strongroom_lab::{Access, Export, Guest, NfsMount, NfsServer, in_guest};

/// A client that gives up after two tries of half a second where nothing takes its connection.
const SOFT: &str = "soft,timeo=5,retrans=1";

fn export() -> Export {
    fs::create_dir_all("/tmp/export").unwrap();
    Export::of("/tmp/export").unwrap()
}

#[test]
fn what_a_client_writes_lies_in_the_exported_directory() {
    in_guest(&Guest::new().with_nfs(), || {
        let begun = Instant::now();
        let _server = NfsServer::start(&export()).unwrap();
        println!("the server took {:?}", begun.elapsed());
        let mount = NfsMount::new("/mnt/pool", SOFT).unwrap();
        fs::write(mount.path().join("volume"), "written by a client").unwrap();
        assert_eq!(
            fs::read_to_string("/tmp/export/volume").unwrap(),
            "written by a client"
        );
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        assert!(mounts.contains("127.0.0.1:/pool /mnt/pool nfs4 rw"), "{mounts}");
        mount.unmount().unwrap();
        assert!(!fs::read_to_string("/proc/mounts").unwrap().contains("/mnt/pool"));
    });
}

/// Runs a process of its own, which can be killed.
fn run_within(time: Duration, script: &str) -> Result<Completed, RunError> {
    let sh = CommandSpec::new(Program::find("sh").unwrap()).args(["-c", script]);
    SystemRunner::new().run(&sh.timeout(time), &Watch::nobody())
}

#[test]
fn a_server_that_hangs_answers_nobody_and_goes_on_where_it_was() {
    in_guest(&Guest::new().with_nfs(), || {
        let server = NfsServer::start(&export()).unwrap();
        let mount = NfsMount::new("/mnt/pool", SOFT).unwrap();
        let path = mount.path().join("volume");
        fs::write(&path, "before").unwrap();

        server.hang().unwrap();
        let stuck = run_within(Duration::from_secs(3), "echo during > /mnt/pool/volume");
        assert!(matches!(stuck, Err(RunError::Deadline { .. })), "{stuck:?}");
        assert_eq!(fs::read_to_string("/tmp/export/volume").unwrap(), "before");

        server.resume().unwrap();
        fs::write(&path, "after").unwrap();
        assert_eq!(fs::read_to_string("/tmp/export/volume").unwrap(), "after");
    });
}

#[test]
fn no_child_starts_while_a_file_with_unwritten_data_is_on_a_server_that_hangs() {
    in_guest(&Guest::new().with_nfs(), || {
        let server = NfsServer::start(&export()).unwrap();
        let mount = NfsMount::new("/mnt/pool", "hard").unwrap();
        let mut file = File::create(mount.path().join("volume")).unwrap();
        server.hang().unwrap();
        file.write_all(b"unwritten").unwrap();

        let (started, starts) = channel();
        let thread = std::thread::spawn(move || {
            let done = run_within(Duration::from_secs(60), "true").unwrap();
            started.send(done.code).unwrap();
        });
        let waited = starts.recv_timeout(Duration::from_secs(3));
        assert_eq!(waited, Err(RecvTimeoutError::Timeout));
        server.resume().unwrap();
        assert_eq!(starts.recv().unwrap(), 0);
        thread.join().unwrap();
    });
}

#[test]
fn a_test_ends_though_its_files_are_on_a_server_that_is_gone() {
    in_guest(&Guest::new().with_nfs(), || {
        let mut server = NfsServer::start(&export()).unwrap();
        let mount = NfsMount::new("/mnt/pool", "hard").unwrap();
        let mut file = File::create(mount.path().join("volume")).unwrap();
        file.write_all(b"never stored").unwrap();
        server.kill().unwrap();
        // To close them would wait for ever.
        std::mem::forget((file, mount));
    });
}

#[test]
fn a_server_that_is_killed_in_the_middle_of_a_write_and_started_again_gets_the_rest() {
    in_guest(&Guest::new().with_nfs(), || {
        let mut server = NfsServer::start(&export()).unwrap();
        let mount = NfsMount::new("/mnt/pool", "hard,timeo=5").unwrap();
        let mut file = File::create(mount.path().join("volume")).unwrap();
        file.write_all(b"first").unwrap();
        file.sync_all().unwrap();

        assert!(server.pid().is_some());
        server.kill().unwrap();
        assert_eq!(server.pid(), None);
        let refused = TcpStream::connect("127.0.0.1:2049").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{refused}");
        std::thread::scope(|scope| {
            let write = scope.spawn(move || {
                file.write_all(b" second").unwrap();
                file.sync_all().unwrap();
            });
            server.restart(&export()).unwrap();
            write.join().unwrap();
        });
        assert_eq!(fs::read("/tmp/export/volume").unwrap(), b"first second");
    });
}

#[test]
fn an_export_that_changed_is_read_only_or_stale() {
    in_guest(&Guest::new().with_nfs(), || {
        let mut server = NfsServer::start(&export()).unwrap();
        let mount = NfsMount::new("/mnt/pool", SOFT).unwrap();
        let path = mount.path().join("volume");
        fs::write(&path, "before").unwrap();

        server.restart(&export().with_access(Access::ReadOnly)).unwrap();
        let error = fs::write(&path, "after").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");

        server.restart(&export().with_number(2)).unwrap();
        let error = fs::read_to_string(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StaleNetworkFileHandle, "{error}");
    });
}
