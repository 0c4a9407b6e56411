use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strongroom_exec::{CommandSpec, Completed, Program, RunError, Runner, SystemRunner, Watch};
use strongroom_qemu_img::{
    Amend, Command, Compare, Comparison, Convert, ConvertOptions, Create, Encrypted, Image, Info,
    KeyDerivation, Layout, Map, NewImage, Preallocation, QemuImg, QemuImgError, Resize, Target,
};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::{ByteSize, Call, Cancellation};

use crate::{KEY, Lab, QCOW2_LUKS, run, size, tool};

#[test]
fn what_is_not_there() {
    let lab = Lab::new();
    let missing = Image::qcow2_luks(lab.path("missing"), &KEY);
    for error in [
        tool().prove_key(&missing, &Call::new()).unwrap_err(),
        run(&Compare::new(&missing, &lab.luks("l"))).unwrap_err(),
        run(&Resize::grow(&Image::raw(lab.path("missing")), size(512))).unwrap_err(),
        run(&Create::sized(
            &NewImage::new(lab.path("no/where"), Layout::raw()),
            size(512),
        ))
        .unwrap_err(),
    ] {
        assert!(matches!(error, QemuImgError::NotFound { .. }), "{error:?}");
    }
}

#[test]
fn a_full_file_system() {
    let lab = tempfile::tempdir_in("/dev/shm").unwrap();
    let huge = NewImage::new(
        lab.path().join("huge"),
        Layout::raw().preallocation(Preallocation::Falloc),
    );
    let error = run(&Create::sized(&huge, size(1 << 50))).unwrap_err();
    assert!(matches!(error, QemuImgError::NoSpace { .. }), "{error:?}");
}

/// A copy that takes an hour: of four pieces the first is written at once, and each of the others waits for its turn.
fn slow_copy<'k>(lab: &Lab, target: impl Into<Target<'k, Encrypted>>) -> Convert<'k, Encrypted> {
    let source = Image::raw(lab.write("source", &[1; 8 << 20]));
    Convert::new(&source, target).options(ConvertOptions::new().rate(ByteSize::kib(2)))
}

#[test]
fn an_image_in_use_and_a_copy_that_is_cancelled() {
    let lab = Lab::new();
    let target = lab.qcow2_luks("q");
    run(&Resize::grow(&target, size(8 << 20))).unwrap();
    let cancellation = Cancellation::new();
    let (flag, seen) = (cancellation.clone(), Arc::new(Mutex::new(None)));
    let (watched, answers) = (target.clone(), Arc::clone(&seen));
    // Progress beyond 0 shows that the target is open; what is reported after the kill does not count.
    let call = Call::new()
        .with_cancellation(cancellation)
        .with_progress(Arc::new(move |fraction| {
            if fraction > 0.0 {
                let (write, read) = (Resize::grow(&watched, size(16 << 20)), Map::of(&watched));
                let shared = Map::of(&watched.clone().shared());
                answers
                    .lock()
                    .unwrap()
                    .get_or_insert_with(|| (run(&write), run(&read), run(&shared)));
                flag.cancel();
            }
        }));
    let error = tool().run(&slow_copy(&lab, &target), &call).unwrap_err();
    assert!(
        matches!(
            error,
            QemuImgError::Run {
                source: RunError::Cancelled { .. },
                ..
            }
        ),
        "{error:?}"
    );
    let (write, read, shared) = seen.lock().unwrap().take().unwrap();
    assert!(matches!(write, Err(QemuImgError::Busy { .. })), "{write:?}");
    assert!(matches!(read, Err(QemuImgError::Busy { .. })), "{read:?}");
    assert_eq!(
        shared.unwrap().iter().map(|extent| extent.length).sum::<u64>(),
        8 << 20
    );
}

#[test]
fn a_copy_that_is_late() {
    let lab = Lab::new();
    let target = lab.luks("l");
    run(&Resize::grow(&target, size(8 << 20))).unwrap();
    let call = Call::new().with_timeout(Duration::from_millis(500));
    let error = tool().run(&slow_copy(&lab, &target), &call).unwrap_err();
    assert!(
        matches!(
            error,
            QemuImgError::Run {
                source: RunError::Deadline { .. },
                ..
            }
        ),
        "{error:?}"
    );
}

/// Keeps what was said to the tool and what the tool said.
#[derive(Debug, Default)]
struct Eavesdropper(Mutex<Vec<u8>>);

impl Runner for Eavesdropper {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        let done = SystemRunner::new().run(command, watch);
        let mut heard = self.0.lock().unwrap();
        heard.extend(format!("{command:?}\n{done:?}\n").bytes());
        if let Ok(done) = &done {
            heard.extend(&done.stdout);
            heard.extend(&done.stderr);
        }
        done
    }
}

#[test]
fn neither_a_command_nor_the_tool_nor_an_error_says_a_passphrase() {
    let lab = Lab::new();
    let text = " canary, passphrase that nobody reads ";
    let passphrase = Passphrase::import(text.as_bytes().to_vec().into()).unwrap();
    let key = SecretFile::new(&passphrase).unwrap();
    let ear = Arc::new(Eavesdropper::default());
    let tool = QemuImg::new(tool().program().clone(), Arc::clone(&ear));
    let call = Call::new();
    let (ours, image) = (
        lab.qcow2_luks("q"),
        Image::qcow2_luks(lab.write("q", &QCOW2_LUKS), &key),
    );
    let wrong = tool.prove_key(&image, &call).unwrap_err();
    tool.run(&Amend::add_key(&ours, &key, KeyDerivation::Fast), &call)
        .unwrap();
    let broken = Image::luks(lab.write("broken", b"LUKS\xba\xbe\0\x01"), &key);
    let mut shown = format!("{image:?}");
    for error in [
        wrong,
        tool.run(&Resize::grow(&image, size(512)), &call).unwrap_err(),
        tool.prove_key(&Image::luks(lab.path("q"), &key), &call)
            .unwrap_err(),
        tool.prove_key(&broken, &call).unwrap_err(),
    ] {
        shown += &format!("{error}\n{error:?}\n");
    }
    tool.run(&Compare::new(&ours, &image), &call).unwrap();
    tool.run(&Amend::remove_key(&ours, &key), &call).unwrap();

    let mut heard = std::mem::take(&mut *ear.0.lock().unwrap());
    assert!(
        heard.windows(6).any(|window| window == b"secret"),
        "the ear is deaf"
    );
    heard.extend(shown.bytes());
    let hexadecimal: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let decimal = format!("{:?}", text.as_bytes());
    for sign in [text, &text[1..12], &hexadecimal, &decimal[1..30]] {
        let said = heard.windows(sign.len()).any(|window| window == sign.as_bytes());
        assert!(!said, "{sign}: {}", String::from_utf8_lossy(&heard));
    }
}

/// Says the same whatever is asked.
#[derive(Debug)]
struct Parrot(Completed);

impl Runner for Parrot {
    fn run(&self, _: &CommandSpec<'_>, _: &Watch<'_>) -> Result<Completed, RunError> {
        Ok(self.0.clone())
    }
}

fn answered(code: i32, stdout: &str) -> Result<strongroom_qemu_img::ImageInfo, QemuImgError> {
    let tool = QemuImg::new(
        Program::find("qemu-img").unwrap(),
        Parrot(Completed::new(code, stdout, "")),
    );
    tool.run(&Info::of(&Image::raw("/a")), &Call::new())
}

#[test]
fn hostile_answers_are_errors() {
    for answer in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"format":"raw"}"#,
        r#"{"virtual-size":-1,"format":"raw"}"#,
        r#"{"virtual-size":18446744073709551616,"format":"raw"}"#,
        r#"{"virtual-size":512,"format":7}"#,
        r#"{"virtual-size":512,"format":"luks","format-specific":{"type":"luks","data":{}}}"#,
        r#"{"virtual-size":512,"format":"qcow2","format-specific":{"type":"qcow2","data":{"encrypt":{"format":"new"}}}}"#,
        r#"{"virtual-size":512,"format":"qcow2","snapshots":[{"id":"1"}]}"#,
    ] {
        let result = answered(0, answer);
        assert!(
            matches!(result, Err(QemuImgError::Output { .. })),
            "{answer}: {result:?}"
        );
    }
    let strange = answered(0, r#"{"virtual-size":513,"format":"raw","new":{"a":[1]}}"#).unwrap();
    assert!(matches!(
        strange.guest_size(),
        Err(strongroom_types::SizeError::Unaligned(513))
    ));
    assert!(matches!(
        answered(1, "{}"),
        Err(QemuImgError::Failed { code: 1, .. })
    ));
}

/// `qemu-img compare` ends with 1 for images that differ, and for a command line that it does not take.
#[test]
fn a_comparison_that_was_not_made_is_not_taken_for_a_difference() {
    let answer = |stdout: &str, stderr: &str| {
        let a = Image::raw("/a");
        Command::answer(&Compare::new(&a, &a), &Completed::new(1, stdout, stderr))
    };
    let unmade = answer("", "qemu-img: unrecognized option '--new'\n");
    assert!(
        matches!(unmade, Err(QemuImgError::Failed { code: 1, .. })),
        "{unmade:?}"
    );
    let differ = answer("Content mismatch at offset 512!\n", "").unwrap();
    assert_eq!(differ, Comparison::Different { at: Some(512) });
}

#[test]
fn a_missing_tool_says_which_package_has_it() {
    let source = Program::at("/nonexistent/qemu-img").unwrap_err();
    let error = QemuImgError::MissingTool { source };
    assert_eq!(
        error.to_string(),
        "qemu-img is missing; on Debian the package qemu-utils has it"
    );
    assert!(
        Path::new("/usr/bin/qemu-img").exists(),
        "apt-get install qemu-utils"
    );
}
