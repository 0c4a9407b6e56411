//! Several processes on one database. A harness of its own, because the other processes are this program.

#![expect(clippy::print_stdout, reason = "a test harness says what it did")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a test says no"
)]

use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::path::Path;

use rustix::process::{Flock, FlockOffsetType, FlockType, fcntl_getlk};
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_passphrase_store::sqlite::{Database, SqliteStore};
use strongroom_passphrase_store::{FileKek, KekError, Keyring, Owner, PassphraseStore, Purpose};

const PROCESSES: usize = 4;
const EACH: usize = 25;
const NEW: usize = 50;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("work") => work(arguments[2].as_ref(), &arguments[3]),
        Some("open-new-ones") => open_new_ones(arguments[2].as_ref()),
        Some("make-a-key") => make_a_key(arguments[2].as_ref()),
        Some("open-odd-names") => open_odd_names(arguments[2].as_ref()),
        Some("ask-for-the-lock") => ask_for_the_lock(arguments[2].as_ref()),
        _ => {
            four_processes_share_a_database_that_none_of_them_had_made();
            of_processes_that_open_a_new_database_at_once_each_gets_it();
            of_processes_that_make_the_same_key_file_one_does();
            a_relative_path_is_that_of_a_file_whatever_it_says();
            whatever_a_process_opens_beside_it_the_first_connection_keeps_its_lock();
        }
    }
}

/// Runs this program several times at once and gives what each printed.
fn at_once(arguments: impl Fn(usize) -> Vec<String> + Sync) -> Vec<String> {
    let us = Program::at(env::current_exe().unwrap()).unwrap();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..PROCESSES)
            .map(|number| {
                let command = CommandSpec::new(us.clone()).args(arguments(number));
                scope.spawn(move || SystemRunner::new().run(&command, &Watch::nobody()).unwrap())
            })
            .collect();
        running
            .into_iter()
            .map(|process| {
                let done = process.join().unwrap();
                assert_eq!(done.code, 0, "{}", done.message());
                String::from_utf8(done.stdout).unwrap()
            })
            .collect()
    })
}

fn four_processes_share_a_database_that_none_of_them_had_made() {
    let directory = tempfile::tempdir().unwrap();
    let kek = FileKek::create(directory.path().join("kek")).unwrap();
    let place = directory.path().to_str().unwrap();
    let kept: BTreeSet<String> = at_once(|number| vec!["work".into(), place.into(), number.to_string()])
        .iter()
        .flat_map(|said| said.lines().map(str::to_owned))
        .collect();
    assert_eq!(kept.len(), PROCESSES * EACH);

    let store = SqliteStore::new(Database::open(directory.path().join("keys.db")).unwrap());
    let ids = store.ids().unwrap();
    assert_eq!(ids.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), kept);
    for id in &ids {
        Keyring::new(&store, &kek).unseal(id).unwrap();
    }
    println!("{PROCESSES} processes kept {} passphrases", ids.len());
}

/// Keeps passphrases and destroys every second one; prints the ids of the others.
fn work(directory: &Path, number: &str) {
    let kek = FileKek::open(directory.join("kek")).unwrap();
    let store = SqliteStore::new(Database::open(directory.join("keys.db")).unwrap());
    let keyring = Keyring::new(&store, &kek);
    for round in 0..EACH {
        let volume = format!("vol-{number}-{round}").parse().unwrap();
        let kept = keyring.create(&volume, Purpose::Volume).unwrap();
        let gone = keyring.create(&volume, Purpose::Backup).unwrap();
        keyring.unseal(&gone).unwrap();
        store.remove_reference(&gone, &Owner::volume(&volume)).unwrap();
        keyring.destroy(&gone).unwrap();
        println!("{kept}");
    }
}

fn of_processes_that_open_a_new_database_at_once_each_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    at_once(|_| vec!["open-new-ones".into(), place.into()]);
    println!("{PROCESSES} processes made the same {NEW} databases");
}

/// Who is behind has less to do for each of them and catches up, so that the processes meet again and again.
fn open_new_ones(directory: &Path) {
    for number in 0..NEW {
        Database::open(directory.join(format!("{number}.db"))).unwrap();
    }
}

fn of_processes_that_make_the_same_key_file_one_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kek");
    let place = path.to_str().expect("a temporary directory in UTF-8");
    let said = at_once(|_| vec!["make-a-key".into(), place.into()]);
    let made: Vec<&String> = said.iter().filter(|id| !id.is_empty()).collect();
    let [made] = made[..] else {
        panic!("{said:?}");
    };
    assert_eq!(format!("{:?}", FileKek::open(&path).unwrap()), *made);
    println!("one of {PROCESSES} processes made the key file");
}

fn make_a_key(path: &Path) {
    match FileKek::create(path) {
        Ok(kek) => print!("{kek:?}"),
        Err(e) => assert!(matches!(e, KekError::Exists { .. }), "{e}"),
    }
}

/// Runs this program once and gives what it printed.
fn once(what: &str, database: &Path) -> String {
    let us = Program::at(env::current_exe().unwrap()).unwrap();
    let command = CommandSpec::new(us).arg(what).arg(database);
    let done = SystemRunner::new().run(&command, &Watch::nobody()).unwrap();
    assert_eq!(done.code, 0, "{}", done.message());
    String::from_utf8(done.stdout).unwrap()
}

/// Which process keeps others from writing to the bytes of the file that SQLite locks while a connection is open: 510 bytes from
/// `SHARED_FIRST` of its file format on.
fn ask_for_the_lock(database: &Path) {
    let shared = Flock {
        start: 0x4000_0002,
        length: 510,
        pid: None,
        typ: FlockType::WriteLock,
        offset_type: FlockOffsetType::Set,
    };
    let file = File::options().read(true).write(true).open(database).unwrap();
    match fcntl_getlk(&file, &shared).unwrap() {
        Some(Flock { pid: Some(pid), .. }) => print!("locked by {}", pid.as_raw_nonzero()),
        Some(other) => panic!("{other:?}"),
        None => print!("free"),
    }
}

fn whatever_a_process_opens_beside_it_the_first_connection_keeps_its_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let first = Database::open(&path).unwrap();
    let lock = || once("ask-for-the-lock", &path);
    let ours = format!("locked by {}", std::process::id());
    assert_eq!(lock(), ours);
    let second = Database::open(&path).unwrap();
    assert_eq!(lock(), ours);
    drop(second);
    assert_eq!(lock(), ours);
    let copy = directory.path().join("copy.db");
    first
        .connection()
        .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
        .unwrap();
    assert!(copy.exists());
    assert_eq!(lock(), ours);
    // One that is refused behind the checks, and one that is refused by them.
    first
        .connection()
        .execute_batch("UPDATE schema_versions SET version = version + 1")
        .unwrap();
    Database::open(&path).unwrap_err();
    assert_eq!(lock(), ours);
    let alias = directory.path().join("alias.db");
    std::os::unix::fs::symlink(&path, &alias).unwrap();
    Database::open(&alias).unwrap_err();
    assert_eq!(lock(), ours);
    drop(first);
    assert_eq!(lock(), "free");
    println!("whatever was opened beside it, the first connection kept its lock");
}

const ODD_NAMES: [&str; 4] = [
    ":memory:",
    "file:keys.db",
    "file:other.db?mode=memory",
    "plain.db",
];

fn a_relative_path_is_that_of_a_file_whatever_it_says() {
    let directory = tempfile::tempdir().unwrap();
    once("open-odd-names", directory.path());
    let made: BTreeSet<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(made, BTreeSet::from(ODD_NAMES.map(str::to_owned)));
    println!("{} relative paths are those of files", made.len());
}

/// In a process of its own, because the working directory is that of the whole process.
fn open_odd_names(directory: &Path) {
    env::set_current_dir(directory).unwrap();
    for name in ODD_NAMES {
        let database = Database::open(name).unwrap();
        assert_eq!(
            database.path(),
            std::fs::canonicalize(directory).unwrap().join(name)
        );
    }
}
