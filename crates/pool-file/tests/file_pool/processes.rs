use std::path::{Path, PathBuf};
use std::thread;

use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_pool_file::FilePoolConfig;
use strongroom_secret::{Origin, Passphrase};
use strongroom_storage_pool::{PoolDriver, VolumeContent, VolumeKey};
use strongroom_types::DiskFormat;

use crate::machine::{Machine, agent};
use crate::site::{MIB, named};

const SHARED: usize = 3;

/// What the programs on one pool know in common. It counts as random, so that its derivation takes no seconds.
fn key() -> Passphrase {
    let bytes = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    Passphrase::restore(bytes.to_vec().into(), Origin::Generated).unwrap()
}

/// Makes volumes that others make too, and volumes of its own, of which it deletes every other one.
fn work(pool: PathBuf, image: &Path, own: &str) {
    let site = Machine::unprepared(FilePoolConfig::new("main".parse().unwrap(), pool), agent());
    site.pool.prepare(&site.cx()).unwrap();
    let (key, id) = (key(), "common".parse().unwrap());
    let key = VolumeKey::Encrypted(&key);
    for n in 0..SHARED {
        let content = VolumeContent::Overlay(named(&id, image));
        let (format, content) = match n {
            0 => (DiskFormat::Raw, VolumeContent::Blank),
            1 => (DiskFormat::Qcow2, VolumeContent::Blank),
            _ => (DiskFormat::Qcow2, content),
        };
        let shared = format!("shared-{n}");
        let made = site.create_with(&shared, MIB, format, key, content).unwrap();
        assert_eq!(site.get(&shared).unwrap().unwrap().guest, made.guest);
        let mine = [format!("{own}-{n}"), format!("{own}-{n}-gone")];
        for name in &mine {
            site.create_with(name, MIB, format, key, content).unwrap();
        }
        site.grow(&mine[0], 2 * MIB, key).unwrap();
        site.delete(&mine[1]).unwrap();
    }
}

/// Run by name with a pool, an image and a name it is one of several programs; else it is alone.
#[test]
fn one_program_does_its_work() {
    let given: Vec<String> = std::env::args().filter(|a| a.starts_with("job=")).collect();
    match given.as_slice() {
        [pool, image, own] => {
            let [pool, image, own] = [pool, image, own].map(|a| a.trim_start_matches("job="));
            work(pool.into(), image.as_ref(), own);
        }
        _ => {
            let machine = Machine::new();
            let image = machine.image("image", 1, 1 << 20);
            work(machine.pool(), &image, "alone");
            assert_eq!(machine.files().len(), 2 * SHARED);
        }
    }
}

#[test]
fn programs_that_work_on_one_pool_at_once_do_not_harm_each_other() {
    let machine = Machine::new();
    let image = machine.image("image", 1, 1 << 20);
    let program = Program::at(std::env::current_exe().unwrap()).unwrap();
    thread::scope(|scope| {
        for own in ["one", "two", "three"] {
            let job = [machine.pool().as_path(), &image, own.as_ref()]
                .map(|argument| format!("job={}", argument.display()));
            let command = CommandSpec::new(program.clone())
                .args(["--exact", "processes::one_program_does_its_work", "--nocapture"])
                .args(job);
            scope.spawn(move || {
                let done = SystemRunner::new().run(&command, &Watch::nobody()).unwrap();
                let said = String::from_utf8_lossy(&done.stdout).into_owned();
                assert!(
                    done.code == 0 && said.contains("1 passed"),
                    "{own}: {said} {}",
                    done.message()
                );
            });
        }
    });
    let site = machine.another();
    let key = key();
    let mut expected = Vec::new();
    for (n, ending) in ["luks", "luks.qcow2", "overlay.luks.qcow2"].iter().enumerate() {
        for name in ["one", "two", "three", "shared"] {
            expected.push(format!("{name}-{n}.{ending}"));
            let size = if name == "shared" { MIB } else { 2 * MIB };
            let format = if n == 0 {
                DiskFormat::Raw
            } else {
                DiskFormat::Qcow2
            };
            site.create(&format!("{name}-{n}"), size, format, VolumeKey::Encrypted(&key))
                .unwrap();
        }
    }
    expected.sort();
    assert_eq!(machine.files(), expected, "no less and no more");
    assert_eq!(machine.templates(), ["common.raw"]);
}
