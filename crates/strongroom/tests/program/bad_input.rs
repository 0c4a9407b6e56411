//! What people and hostile images ask for. Each time: a clear refusal, nothing new on disk, and the volume that was there opens.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use crate::machine::{Machine, tool, volume_files};

/// A machine with a volume that must survive everything.
fn with_a_volume() -> Machine {
    let machine = Machine::new();
    machine.create("keep", "secret-raw", "1M");
    machine
}

#[track_caller]
fn still_sound(machine: &Machine) {
    assert_eq!(machine.assert_sound(), ["keep"]);
}

#[test]
fn sizes_that_are_no_disk_sizes() {
    let machine = with_a_volume();
    let create = |size| {
        machine.run(&[
            "volume",
            "create",
            "v",
            "--offering",
            "secret-raw",
            "--size",
            size,
        ])
    };
    create("0").refused(&["0", "sector"]);
    create("1").refused(&["512"]);
    create("1000").refused(&["multiple of 512", "1024"]);
    create("9223372036854775807").refused(&["more than a disk can have"]);
    create("9223372036854775295").refused(&["multiple of 512"]);
    create("15E").refused(&["more than a disk can have"]);
    assert_eq!(create("ten").code, Some(2), "not a size at all: a usage error");
    machine
        .run(&["volume", "resize", "keep", "512"])
        .refused(&["--shrink"]);
    still_sound(&machine);
}

#[test]
fn names_that_are_no_ids() {
    let machine = with_a_volume();
    for name in ["../up", "a,b", "json:{}", "A", "", "a\nb"] {
        let refused = machine.run(&[
            "volume",
            "create",
            name,
            "--offering",
            "secret-raw",
            "--size",
            "1M",
        ]);
        assert_eq!(refused.code, Some(2), "{name:?}: {}", refused.stderr);
    }
    machine
        .run(&[
            "volume",
            "create",
            "keep",
            "--offering",
            "secret-raw",
            "--size",
            "1M",
        ])
        .refused(&["keep", "already"]);
    machine
        .run(&["volume", "create", "v", "--offering", "nowhere", "--size", "1M"])
        .refused(&["nowhere"]);
    machine
        .run(&[
            "volume",
            "create",
            "v",
            "--offering",
            "secret-raw",
            "--size",
            "1M",
            "--pool",
            "nowhere",
        ])
        .refused(&["nowhere"]);
    still_sound(&machine);
}

#[test]
fn templates_that_reach_elsewhere_or_lie() {
    let machine = with_a_volume();
    let path = |name: &str| machine.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("secret.txt"), vec![b's'; 65536]).unwrap();
    tool(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            &path("secret.txt"),
            "-F",
            "raw",
            &path("backing.qcow2"),
        ],
    );
    let data = format!("data_file={}", path("data"));
    tool(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            &data,
            &path("data.qcow2"),
            "1M",
        ],
    );
    tool(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", &path("good.qcow2"), "1M"],
    );

    let variant = |name: &str, patch: &dyn Fn(&fs::File)| {
        fs::copy(path("good.qcow2"), path(name)).unwrap();
        patch(&fs::OpenOptions::new().write(true).open(path(name)).unwrap());
    };
    variant("cut.qcow2", &|f| f.set_len(60).unwrap());
    variant("lying.qcow2", &|f| {
        f.write_all_at(&(1u64 << 60).to_be_bytes(), 24).unwrap()
    });
    variant("unknown.qcow2", &|f| {
        f.write_all_at(&(1u64 << 40).to_be_bytes(), 72).unwrap()
    });
    fs::write(path("odd.raw"), vec![1; 1000]).unwrap();
    fs::write(path("large.raw"), vec![0; 2 << 20]).unwrap();

    let create = |template: &str| {
        machine.run(&[
            "volume",
            "create",
            "v",
            "--offering",
            "secret-raw",
            "--size",
            "1M",
            "--image",
            &path(template),
        ])
    };
    create("backing.qcow2").refused(&["backing file"]);
    create("data.qcow2").refused(&["data.qcow2", "in another file"]);
    create("cut.qcow2").refused(&["cut.qcow2"]);
    create("lying.qcow2").refused(&["lying.qcow2"]);
    create("unknown.qcow2").refused(&["unknown"]);
    create("odd.raw").refused(&["512"]);
    create("large.raw").refused(&["large.raw"]);
    create("none.raw").refused(&["none.raw"]);
    create("secret.txt").refused(&["--image-format"]);
    still_sound(&machine);
}

#[test]
fn templates_with_names_that_tools_misread() {
    let machine = with_a_volume();
    let mut names: Vec<Vec<u8>> = [
        "a,b.raw",
        "json:{\"driver\":\"null-co\"}.raw",
        "-rf.raw",
        "x:y.raw",
        "two\nlines.raw",
        "ärger €.raw",
        "file=x,format=y.raw",
    ]
    .map(|n| n.as_bytes().to_vec())
    .to_vec();
    names.push(b"not\xffutf8.raw".to_vec());
    for (number, name) in names.iter().enumerate() {
        let template = machine.path().join(std::ffi::OsStr::from_bytes(name));
        fs::write(&template, vec![number as u8 + 1; 4096]).unwrap();
        let volume = format!("named-{number}");
        let mut command = machine.command(&[
            "volume",
            "create",
            &volume,
            "--offering",
            "secret-raw",
            "--size",
            "4096",
            "--image",
        ]);
        command.arg(&template);
        crate::machine::outcome(&mut command).json();
        machine.ok(&["volume", "verify", &volume]);
        machine.ok(&["volume", "delete", &volume]);
    }
    still_sound(&machine);
}

#[test]
fn pools_in_directories_with_names_that_tools_misread() {
    let machine = with_a_volume();
    for (number, name) in [
        "a,b",
        "json:{}",
        "-rf",
        "two\nlines",
        "ärger €",
        "x:y=z,format=raw",
    ]
    .iter()
    .enumerate()
    {
        let directory = machine.path().join(name);
        fs::create_dir(&directory).unwrap();
        let (pool, volume) = (format!("pool-{number}"), format!("in-{number}"));
        machine.ok(&["pool", "add", &pool, "--directory", directory.to_str().unwrap()]);
        for offering in ["secret", "secret-raw"] {
            let create = [
                "volume",
                "create",
                &volume,
                "--offering",
                offering,
                "--size",
                "1M",
                "--pool",
                &pool,
            ];
            machine.ok(&create);
            machine.ok(&["volume", "verify", &volume]);
            machine.ok(&["volume", "resize", &volume, "2M"]);
            assert_eq!(volume_files(&directory).len(), 1, "{name:?}");
            machine.ok(&["volume", "delete", &volume]);
        }
        assert_eq!(volume_files(&directory).len(), 0, "{name:?}");
    }
    let odd = machine.path().join(std::ffi::OsStr::from_bytes(b"not\xffutf8"));
    fs::create_dir(&odd).unwrap();
    let mut add = machine.command(&["pool", "add", "odd", "--directory"]);
    crate::machine::outcome(add.arg(&odd)).refused(&["not UTF-8"]);
    still_sound(&machine);
}

#[test]
fn a_disk_that_is_not_what_its_record_says() {
    let machine = with_a_volume();
    let disk = machine.disk("keep");
    let whole = fs::read(&disk).unwrap();
    let key = machine.path().join("other-key");
    fs::write(&key, "another passphrase").unwrap();

    fs::write(&disk, vec![0; whole.len()]).unwrap();
    let luks2 = [
        "luksFormat",
        "-q",
        "--type",
        "luks2",
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--key-file",
    ];
    fs::OpenOptions::new()
        .write(true)
        .open(&disk)
        .unwrap()
        .set_len(32 << 20)
        .unwrap();
    tool(
        "cryptsetup",
        &[&luks2[..], &[key.to_str().unwrap(), disk.to_str().unwrap()]].concat(),
    );
    machine.run(&["volume", "verify", "keep"]).refused(&["LUKS2"]);
    machine
        .run(&["volume", "resize", "keep", "2M"])
        .refused(&["LUKS2"]);

    fs::write(&disk, vec![0; whole.len()]).unwrap();
    machine.run(&["volume", "verify", "keep"]).refused(&["keep"]);

    let mut damaged = whole.clone();
    damaged[8..40].fill(0xff);
    fs::write(&disk, damaged).unwrap();
    machine.run(&["volume", "verify", "keep"]).refused(&["keep"]);

    fs::write(&disk, &whole).unwrap();
    still_sound(&machine);
}

#[test]
fn a_missing_or_damaged_key_is_an_error_and_never_plaintext() {
    let machine = with_a_volume();
    let database = machine.state().join("strongroom.db");
    let kek = machine.state().join("kek");
    let good = fs::read(&kek).unwrap();

    let mut other = Machine::bare();
    other.ok(&["host", "list"]);
    fs::copy(other.state().join("kek"), &kek).unwrap();
    machine.run(&["volume", "verify", "keep"]).refused(&["key"]);
    machine.run(&["volume", "resize", "keep", "2M"]).refused(&["key"]);
    fs::write(&kek, &good[..good.len() / 2]).unwrap();
    machine.run(&["volume", "verify", "keep"]).refused(&["kek"]);
    fs::remove_file(&kek).unwrap();
    machine.run(&["volume", "verify", "keep"]).refused(&["kek"]);
    assert!(
        !kek.exists(),
        "a lost key is not replaced by a new one that opens nothing"
    );
    fs::write(&kek, &good).unwrap();
    machine.run(&["volume", "verify", "keep"]).refused(&["chmod 600"]);
    tool("chmod", &["600", kek.to_str().unwrap()]);
    still_sound(&machine);

    let copy = fs::read(&database).unwrap();
    fs::write(&database, &copy[..copy.len() / 2]).unwrap();
    assert_eq!(machine.run(&["volume", "list"]).code, Some(1));
    fs::write(&database, &copy).unwrap();
    still_sound(&machine);
    other = machine;
    drop(other);
}

#[test]
fn deleting_a_volume_touches_no_other_and_says_what_it_left() {
    let machine = with_a_volume();
    machine.create("gone", "secret-raw", "1M");
    machine.create("moved", "secret-raw", "1M");
    let (keep, gone, moved) = (machine.disk("keep"), machine.disk("gone"), machine.disk("moved"));
    fs::remove_file(&gone).unwrap();
    fs::hard_link(&keep, &gone).unwrap();
    machine
        .run(&["volume", "delete", "gone"])
        .refused(&["gone", "left"]);
    assert!(gone.exists(), "it may be another volume's");
    fs::remove_file(&gone).unwrap();
    let aside = machine.path().join("aside");
    fs::rename(&moved, &aside).unwrap();
    let done = machine.run(&["volume", "delete", "moved"]);
    done.refused(&["moved", "left"]);
    assert!(
        done.stdout.contains("not there") && !done.stdout.contains("disk removed"),
        "{}",
        done.stdout
    );
    still_sound(&machine);
}

#[test]
fn records_that_do_not_belong_together() {
    let machine = with_a_volume();
    let (kek, database) = (machine.state().join("kek"), machine.state().join("strongroom.db"));
    let other = Machine::bare();
    other.ok(&["host", "list"]);
    let good = fs::read(&kek).unwrap();
    fs::copy(other.state().join("kek"), &kek).unwrap();
    let create = [
        "volume",
        "create",
        "v",
        "--offering",
        "secret-raw",
        "--size",
        "1M",
    ];
    machine.run(&create).refused(&["right key file"]);
    fs::write(&kek, good).unwrap();
    still_sound(&machine);

    let aside = machine.path().join("aside.db");
    fs::rename(&database, &aside).unwrap();
    machine
        .run(&["volume", "list"])
        .refused(&["gone or empty", "copy"]);
    fs::write(&database, "").unwrap();
    machine
        .run(&["volume", "list"])
        .refused(&["gone or empty", "copy"]);
    fs::rename(&aside, &database).unwrap();
    still_sound(&machine);
    let pool = machine.pool();
    let again = ["pool", "add", "again", "--directory", pool.to_str().unwrap()];
    machine.run(&again).refused(&["pool main already"]);
}

#[test]
fn a_state_from_a_newer_version_is_not_touched() {
    let machine = with_a_volume();
    let path = machine.state().join("strongroom.db");
    let set = |sql: &str| {
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch(sql)
            .unwrap()
    };
    set("UPDATE schema_versions SET version = version + 1000");
    machine.run(&["volume", "list"]).refused(&["newer"]);
    set("UPDATE schema_versions SET version = version - 1000");
    still_sound(&machine);
}

#[test]
fn two_processes_on_one_state_directory() {
    let machine = with_a_volume();
    machine.replace_tool("qemu-img", "touch \"${0%/*}/../waiting\"; while [ ! -e \"${0%/*}/../go\" ]; do read -r _ < /proc/self/stat; done; exec \"$REAL\" \"$@\"");
    let mut first = machine.start(&["volume", "verify", "keep"]);
    while !machine.path().join("waiting").exists() {
        assert_eq!(first.try_wait().unwrap(), None, "the first ended early");
        std::thread::yield_now();
    }
    machine
        .run(&["volume", "list"])
        .refused(&["in use by process", &first.id().to_string()]);
    fs::write(machine.path().join("go"), "").unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(0));
    machine.restore_tools();
    still_sound(&machine);
}

#[test]
fn formatting_what_is_not_blank() {
    let machine = with_a_volume();
    let template = machine.path().join("pool").join("squatter.luks");
    fs::write(&template, vec![7; 1 << 20]).unwrap();
    let refused = machine.run(&[
        "volume",
        "create",
        "squatter",
        "--offering",
        "secret-raw",
        "--size",
        "1M",
    ]);
    refused.refused(&["squatter"]);
    assert_eq!(fs::read(&template).unwrap(), vec![7; 1 << 20]);
    fs::remove_file(&template).unwrap();
    still_sound(&machine);
}
