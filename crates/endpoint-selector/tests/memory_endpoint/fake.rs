use std::error::Error;
use std::time::Duration;

use strongroom_endpoint_selector::{
    DeleteDisk, DirectoryFacts, DiskLocation, EndpointError, ErrorKind, FormatDevice, HostAnswer,
    HostCommand, InspectDisk, OpenDirectory, Protection,
};
use strongroom_secret::Passphrase;
use strongroom_types::{ByteSize, Call, DiskFormat, EncryptionFormat};

use crate::desk::{Desk, MIB, file, guest, luks, refused};

#[test]
fn an_interrupted_call_does_nothing_and_says_which_interruption_it_was() {
    let mut desk = Desk::new();
    let made = desk.create("/p/v", DiskFormat::Raw, Protection::Plain);
    let cancelled = Call::new();
    cancelled.cancellation().cancel();
    for (call, kind) in [
        (cancelled, ErrorKind::Cancelled),
        (Call::new().with_timeout(Duration::ZERO), ErrorKind::Deadline),
    ] {
        desk.call = call;
        refused(desk.run(DeleteDisk::new("/p/v".as_ref())), kind, &[]);
        desk.call = Call::new();
        assert_eq!(desk.inspect(&made), made);
    }
}

#[test]
fn a_relative_path_is_refused() {
    let desk = Desk::new();
    refused(
        desk.run(DeleteDisk::new("v".as_ref())),
        ErrorKind::InvalidRequest,
        &["\"v\"", "absolute"],
    );
    let relative = file("../v");
    let inspect = InspectDisk::new(&relative, DiskFormat::Raw, None);
    refused(desk.run(inspect), ErrorKind::InvalidRequest, &["absolute"]);
}

#[test]
fn a_fault_is_the_answer_and_the_command_is_recorded() {
    let desk = Desk::new();
    desk.node.fail_when(|command| match command {
        HostCommand::DeleteDisk(_) => Some(EndpointError::new(
            ErrorKind::Busy,
            "DeleteDisk",
            "open elsewhere",
        )),
        _ => None,
    });
    let made = desk.create("/p/v", DiskFormat::Raw, Protection::Plain);
    refused(
        desk.run(DeleteDisk::new("/p/v".as_ref())),
        ErrorKind::Busy,
        &["elsewhere"],
    );
    assert_eq!(desk.inspect(&made), made);
    assert_eq!(desk.node.commands(), ["CreateDisk", "DeleteDisk", "InspectDisk"]);
}

#[test]
fn an_answer_can_be_lost_after_the_work_is_done() {
    let desk = Desk::new();
    desk.node.fail_after(|command| {
        let lost = EndpointError::new(ErrorKind::Deadline, command.name(), "no answer came");
        matches!(command, HostCommand::FormatDevice(_)).then_some(lost)
    });
    desk.node.add_blank_device("/dev/vdb", guest(64 * MIB));
    let (volume, location) = ("v".parse().unwrap(), DiskLocation::block("/dev/vdb"));
    let format = FormatDevice::new(&volume, &location, EncryptionFormat::Luks1, &desk.key);
    refused(desk.run(format), ErrorKind::Deadline, &["no answer"]);
    let inspect = InspectDisk::new(&location, DiskFormat::Raw, Some(EncryptionFormat::Luks1));
    let made = desk.disk(inspect);
    desk.node.fail_after(|_| None);
    assert_eq!(desk.disk(format), made);
}

#[test]
fn a_directory_is_there_unless_a_test_says_otherwise() {
    let desk = Desk::new();
    let open = |path: &str| match desk.run(OpenDirectory::new(path.as_ref())).unwrap() {
        HostAnswer::Directory(facts) => facts,
        other => panic!("not a directory: {other:?}"),
    };
    assert!(open("/p").writable);
    let size = ByteSize::mib(1);
    let full = DirectoryFacts::new("/p".into(), 7, "tmpfs".into(), size, ByteSize::default(), false);
    desk.node.set_directory(full.clone());
    assert_eq!(open("/p"), full);
    assert_eq!(open("/q").file_system, 1);
}

#[test]
fn no_key_is_in_any_text() {
    let mut desk = Desk::new();
    desk.key = Passphrase::import(b"canary-of-the-mine".to_vec().into()).unwrap();
    let made = desk.create("/p/v", DiskFormat::Raw, desk.luks1());
    let stranger = Passphrase::import(b"canary-of-another".to_vec().into()).unwrap();
    let error = desk
        .verify(&made, luks(EncryptionFormat::Luks1, &stranger))
        .unwrap_err();
    let volume = "v".parse().unwrap();
    let command: HostCommand<'_> =
        FormatDevice::new(&volume, &made.location, EncryptionFormat::Luks1, &desk.key).into();
    let texts = format!(
        "{:?} {error} {error:?} {:?} {command:?}",
        desk.node,
        error.source()
    );
    assert!(
        texts.contains("MemoryEndpoint") && texts.contains("does not open"),
        "{texts}"
    );
    assert!(!texts.contains("canary"), "{texts}");
}

#[test]
fn a_location_prints_on_one_line() {
    let location = DiskLocation::File("/p/two\nlines, \u{e4} \u{1b}[m".into());
    assert_eq!(location.to_string(), "/p/two\\nlines, \u{e4} \\u{1b}[m");
}
