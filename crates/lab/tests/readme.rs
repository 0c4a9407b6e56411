//! The example of the README, run.
#![cfg(test)]

use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_lab::{Export, Guest, NfsMount, NfsServer, disk, in_guest};

#[test]
fn a_pool_on_nfs_outlives_its_server() {
    let guest = Guest::new()
        .with_nfs()
        .with_program("mkfs.ext4")
        .with_disk("exported", 64 << 20);
    in_guest(&guest, || {
        let run = |name: &str, words: &[&str]| {
            let tool = CommandSpec::new(Program::find(name).unwrap()).args(words);
            assert_eq!(SystemRunner::new().run(&tool, &Watch::nobody()).unwrap().code, 0);
        };
        std::fs::create_dir("/srv").unwrap();
        run("mkfs.ext4", &["-q", disk("exported").to_str().unwrap()]);
        run(
            "mount",
            &["-t", "ext4", disk("exported").to_str().unwrap(), "/srv"],
        );

        let export = Export::of("/srv").unwrap();
        let mut server = NfsServer::start(&export).unwrap();
        let pool = NfsMount::new("/mnt/pool", "hard").unwrap();
        std::fs::write(pool.path().join("volume"), "first").unwrap();

        server.hang().unwrap();
        let reader = std::thread::spawn(|| std::fs::read_dir("/mnt/pool").unwrap().count());
        server.kill().unwrap();
        server.restart(&export).unwrap();
        assert!(reader.join().unwrap() > 0);
    });
}
