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
use std::path::Path;

use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_passphrase_store::sqlite::{Database, SqliteStore};
use strongroom_passphrase_store::{FileKek, KekError, Keyring, Owner, PassphraseStore, Purpose};

const PROCESSES: usize = 4;
const EACH: usize = 25;

fn main() {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("work") => work(arguments[2].as_ref(), &arguments[3]),
        Some("make-a-key") => make_a_key(arguments[2].as_ref()),
        _ => {
            four_processes_share_a_database_that_none_of_them_had_made();
            of_processes_that_make_the_same_key_file_one_does();
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
