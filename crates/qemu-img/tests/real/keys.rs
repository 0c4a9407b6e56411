use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use strongroom_exec::{CommandSpec, Completed, Program, RunError, Runner, SystemRunner, Watch};
use strongroom_qemu_img::{
    Amend, Create, Encrypted, Image, KeyDerivation, Layout, NewImage, QemuImg, QemuImgError, Refusal,
};
use strongroom_secret::SecretFile;
use strongroom_types::Call;

use crate::{KEY, LUKS, Lab, OTHER_KEY, OTHER_PASSPHRASE, PASSPHRASE, QCOW2_LUKS, run, size, tool};

fn prove(image: &Image<'_, Encrypted>) -> Result<(), QemuImgError> {
    tool().prove_key(image, &Call::new())
}

fn is_wrong_key(result: &Result<(), QemuImgError>) -> bool {
    matches!(result, Err(QemuImgError::WrongKey { .. }))
}

#[test]
fn only_the_right_key_is_proved_while_info_takes_any() {
    let lab = Lab::new();
    prove(&lab.qcow2_luks("q")).unwrap();
    prove(&lab.luks("l")).unwrap();
    for wrong in [
        Image::qcow2_luks(lab.path("q"), &OTHER_KEY),
        Image::luks(lab.path("l"), &OTHER_KEY),
    ] {
        let result = prove(&wrong);
        assert!(is_wrong_key(&result), "{result:?}");
        assert!(tool().info(&wrong, &Call::new()).unwrap().encrypted);
    }
}

#[test]
fn a_key_for_what_is_not_encrypted_proves_nothing() {
    let lab = Lab::new();
    let plain = lab.path("plain");
    let layout = Layout::qcow2(Default::default());
    run(&Create::sized(&NewImage::new(&plain, layout), size(512))).unwrap();
    for claimed in [Image::qcow2_luks(&plain, &KEY), Image::luks(&plain, &KEY)] {
        let result = prove(&claimed);
        assert!(
            matches!(result, Err(QemuImgError::NotAsDescribed { .. })),
            "{result:?}"
        );
    }
}

#[test]
fn other_versions_and_damaged_headers_are_told_apart() {
    let lab = Lab::new();
    let patched = |name, at: usize, bytes: &[u8]| {
        let mut image = LUKS.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        prove(&Image::luks(lab.write(name, &image), &KEY))
    };
    let version = patched("version", 6, &[0, 2]);
    assert!(
        matches!(version, Err(QemuImgError::Unsupported { .. })),
        "{version:?}"
    );
    let slot = patched("slot", 208, &[1, 2, 3, 4]);
    assert!(matches!(slot, Err(QemuImgError::Damaged { .. })), "{slot:?}");
    let mut qcow2 = QCOW2_LUKS.clone();
    qcow2[40..48].copy_from_slice(&7u64.to_be_bytes());
    let table = prove(&Image::qcow2_luks(lab.write("table", &qcow2), &KEY));
    assert!(matches!(table, Err(QemuImgError::Damaged { .. })), "{table:?}");
}

/// From one key to another and to none, as both formats do it.
fn rotate(old: &Image<'_, Encrypted>, new: &Image<'_, Encrypted>) {
    let slots = || {
        tool()
            .info(old, &Call::new())
            .unwrap()
            .encryption
            .unwrap()
            .active_slots()
            .collect::<Vec<_>>()
    };
    assert!(is_wrong_key(&prove(new)));
    run(&Amend::add_key_in_slot(old, &OTHER_KEY, KeyDerivation::Fast, 5)).unwrap();
    assert_eq!(slots(), [0, 5]);
    prove(old).unwrap();
    prove(new).unwrap();

    let twice = run(&Amend::remove_key(old, &crate::new_key())).unwrap_err();
    assert!(matches!(twice, QemuImgError::WrongKey { .. }), "{twice:?}");
    run(&Amend::remove_key(new, &KEY)).unwrap();
    assert_eq!(slots(), [5]);
    assert!(is_wrong_key(&prove(old)));
    prove(new).unwrap();

    let own = run(&Amend::remove_key(new, &OTHER_KEY)).unwrap_err();
    assert!(
        matches!(own, QemuImgError::Refused(Refusal::KeyThatGoes { .. })),
        "{own:?}"
    );
    let twin = SecretFile::new(&OTHER_PASSPHRASE).unwrap();
    for last in [Amend::remove_key(new, &twin), Amend::remove_slot(new, 5)] {
        let refusal = run(&last).unwrap_err();
        assert!(
            matches!(refusal, QemuImgError::Refused(Refusal::LastKey { .. })),
            "{refusal:?}"
        );
    }
    prove(new).unwrap();
    run(&Amend::destroy_slot(new, 5)).unwrap();
    assert_eq!(slots(), [0; 0]);
    assert!(is_wrong_key(&prove(new)));
}

#[test]
fn keys_of_qcow2_are_added_removed_and_destroyed() {
    let lab = Lab::new();
    let old = lab.qcow2_luks("q");
    rotate(&old, &Image::qcow2_luks(lab.path("q"), &OTHER_KEY));
}

#[test]
fn keys_of_raw_luks_are_added_removed_and_destroyed() {
    let lab = Lab::new();
    let old = lab.luks("l");
    rotate(&old, &Image::luks(lab.path("l"), &OTHER_KEY));
}

/// The key of the description is in slot 0 and another one in slot 1: whichever way the first is to go, nothing is written.
fn stays(image: &Image<'_, Encrypted>) {
    let path = image.location().path();
    run(&Amend::add_key(image, &OTHER_KEY, KeyDerivation::Fast)).unwrap();
    let before = std::fs::read(path).unwrap();
    let twin = SecretFile::new(&PASSPHRASE).unwrap();
    for refused in [
        Amend::remove_slot(image, 0),
        Amend::remove_key(image, &twin),
        Amend::remove_key(image, &KEY),
    ] {
        let refusal = run(&refused).unwrap_err();
        assert!(
            matches!(refusal, QemuImgError::Refused(Refusal::KeyThatGoes { .. })),
            "{refusal:?}"
        );
        assert!(std::fs::read(path).unwrap() == before, "{refused:?} wrote");
    }

    // With the same key in another slot, its first one may go.
    run(&Amend::add_key_in_slot(image, &twin, KeyDerivation::Fast, 7)).unwrap();
    run(&Amend::remove_slot(image, 0)).unwrap();
    prove(image).unwrap();
    let again = run(&Amend::remove_slot(image, 7)).unwrap_err();
    assert!(
        matches!(again, QemuImgError::Refused(Refusal::KeyThatGoes { .. })),
        "{again:?}"
    );
    run(&Amend::remove_slot(image, 1)).unwrap();
    prove(image).unwrap();
}

#[test]
fn the_key_that_a_qcow2_image_is_described_with_stays() {
    stays(&Lab::new().qcow2_luks("q,1"));
}

#[test]
fn the_key_that_a_raw_luks_disk_is_described_with_stays() {
    stays(&Lab::new().luks("l,1"));
}

/// Erases the first keyslot of a raw LUKS disk behind the back of whoever changes its keys.
#[derive(Debug)]
struct Meddler(PathBuf);

impl Runner for Meddler {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        let done = SystemRunner::new().run(command, watch);
        if is_change(command) {
            // Where the first keyslot says whether it is in use, and that it is not (LUKS1 on-disk format, figures 1 and 2).
            let header = std::fs::OpenOptions::new().write(true).open(&self.0).unwrap();
            header.write_all_at(&0x0000_dead_u32.to_be_bytes(), 208).unwrap();
        }
        done
    }
}

#[test]
fn who_lost_the_key_that_he_came_with_is_told() {
    let lab = Lab::new();
    let image = lab.luks("l");
    let tool = QemuImg::new(tool().program().clone(), Meddler(lab.path("l")));
    let add = Amend::add_key(&image, &OTHER_KEY, KeyDerivation::Fast);
    let unproven = tool.run(&add, &Call::new()).unwrap_err();
    let QemuImgError::Unproven { source, .. } = &unproven else {
        panic!("the key of the description opens nothing any more: {unproven:?}");
    };
    assert!(matches!(**source, QemuImgError::WrongKey { .. }), "{unproven:?}");
    prove(&Image::luks(lab.path("l"), &OTHER_KEY)).unwrap();
}

#[test]
fn a_key_that_does_not_fit_is_said_of_the_opening() {
    let lab = Lab::new();
    let wrong = prove(&Image::luks(lab.luks("l").location().path(), &OTHER_KEY)).unwrap_err();
    let text = wrong.to_string();
    assert!(text.starts_with("open: the key opens no keyslot: "), "{text}");
}

/// Whether it changes keys, and not in a rehearsal.
fn is_change(command: &CommandSpec<'_>) -> bool {
    let rehearsed = |word: &OsStr| word.to_string_lossy().contains("file.backing.file.driver=");
    command.arguments().next() == Some("amend".as_ref()) && !command.arguments().any(rehearsed)
}

/// Runs a change of keys for so long and then kills it, as a power cut would.
#[derive(Debug)]
struct Impatient(Duration);

impl Runner for Impatient {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        if !is_change(command) {
            return SystemRunner::new().run(command, watch);
        }
        let timeout = Program::find("timeout").expect("apt-get install coreutils");
        let limit = format!("{:.3}", self.0.as_secs_f64());
        let mut spec = CommandSpec::new(timeout).args(["-s", "KILL", &limit]);
        spec.push(command.program().path());
        for word in command.arguments() {
            spec.push(word);
        }
        for descriptor in command.descriptors() {
            spec.pass(*descriptor);
        }
        SystemRunner::new().run(&spec, watch)
    }
}

#[test]
fn a_change_killed_at_any_instant_leaves_the_key_that_stays() {
    let lab = Lab::new();
    for image in [lab.luks("l"), lab.qcow2_luks("q")] {
        let path = image.location().path().to_owned();
        let add = Amend::add_key(&image, &OTHER_KEY, KeyDerivation::Fast);
        let one = std::fs::read(&path).unwrap();
        let begun = Instant::now();
        run(&add).unwrap();
        let adding = begun.elapsed();
        let two = std::fs::read(&path).unwrap();
        let begun = Instant::now();
        run(&Amend::remove_key(&image, &OTHER_KEY)).unwrap();
        let removing = begun.elapsed();

        let hurried = |patience| {
            let patience = Duration::max(patience, Duration::from_millis(1));
            QemuImg::new(tool().program().clone(), Impatient(patience))
        };
        let mut killed = 0;
        // Before the cost was measured, for about a second, nothing is written.
        for hundredths in [90, 97] {
            std::fs::write(&path, &one).unwrap();
            killed += u32::from(
                hurried(adding * hundredths / 100)
                    .run(&add, &Call::new())
                    .is_err(),
            );
            prove(&image).unwrap();
        }
        for step in 1..=6 {
            std::fs::write(&path, &two).unwrap();
            let remove = Amend::remove_key(&image, &OTHER_KEY);
            killed += u32::from(hurried(removing * step / 6).run(&remove, &Call::new()).is_err());
            prove(&image).unwrap();
            match run(&remove) {
                // It was removed before the kill.
                Ok(()) | Err(QemuImgError::WrongKey { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
            prove(&image).unwrap();
        }
        assert!(
            killed > 0,
            "nothing was killed within {adding:?} and {removing:?}"
        );
    }
}
