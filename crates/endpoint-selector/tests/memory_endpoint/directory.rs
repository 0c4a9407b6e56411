use strongroom_endpoint_selector::{
    CreateDisk, DirectoryFacts, DiskContent, ErrorKind, HostAnswer, ListDirectory, MakeDirectory,
    MarkDirectory, OpenDirectory, Protection,
};
use strongroom_types::{ByteSize, DiskFormat};

use crate::desk::{Desk, MIB, guest, refused};

fn facts(file_system: u64, writable: bool) -> DirectoryFacts {
    let size = ByteSize::gib(1);
    DirectoryFacts::new("/p".into(), file_system, "ext4".into(), size, size, writable)
}

fn owner(desk: &Desk) -> Option<String> {
    match desk.run(OpenDirectory::new("/p".as_ref())).unwrap() {
        HostAnswer::Directory(facts) => facts.pool.map(|pool| pool.to_string()),
        other => panic!("not a directory: {other:?}"),
    }
}

#[test]
fn a_mark_is_for_good_and_stays_with_its_file_system() {
    let desk = Desk::new();
    let (gold, silver) = ("gold".parse().unwrap(), "silver".parse().unwrap());
    assert_eq!(owner(&desk), None);
    for _ in 0..2 {
        let marked = desk.run(MarkDirectory::new("/p".as_ref(), &gold)).unwrap();
        assert!(
            matches!(&marked, HostAnswer::Directory(facts) if facts.pool.as_ref() == Some(&gold)),
            "{marked:?}"
        );
    }
    let again = desk.run(MarkDirectory::new("/p".as_ref(), &silver));
    refused(again, ErrorKind::AlreadyExists, &["/p", "gold"]);
    assert_eq!(owner(&desk), Some("gold".to_owned()));
    desk.node.set_directory(facts(7, true));
    assert_eq!(owner(&desk), None, "another file system is mounted there");
    desk.node.set_directory(facts(1, true));
    assert_eq!(owner(&desk), Some("gold".to_owned()));
}

#[test]
fn a_mark_is_one_owners_until_another_takes_it_over() {
    let desk = Desk::new();
    let gold = "gold".parse().unwrap();
    let (here, there) = ("here".parse().unwrap(), "there".parse().unwrap());
    let mark = || MarkDirectory::new("/p".as_ref(), &gold);
    let owner_after = |mark: MarkDirectory<'_>| match desk.run(mark).unwrap() {
        HostAnswer::Directory(facts) => facts.owner,
        other => panic!("not a directory: {other:?}"),
    };
    assert_eq!(owner_after(mark()), None);
    assert_eq!(owner_after(mark().owner(Some(&here))), Some(here));
    let taken = desk.run(mark().owner(Some(&there)));
    refused(taken, ErrorKind::AlreadyExists, &["/p", "another installation"]);
    let taken = mark().owner(Some(&there)).take_over(true);
    assert_eq!(owner_after(taken), Some(there));
}

#[test]
fn a_directory_that_cannot_be_written_is_not_marked() {
    let desk = Desk::new();
    desk.node.set_directory(facts(1, false));
    let gold = "gold".parse().unwrap();
    let marked = desk.run(MarkDirectory::new("/p".as_ref(), &gold));
    refused(marked, ErrorKind::PermissionDenied, &["/p"]);
}

#[test]
fn the_names_are_those_of_the_files_directly_in_the_directory() {
    let desk = Desk::new();
    for path in ["/p/b", "/p/a", "/p/sub/c", "/q/d"] {
        desk.create(path, DiskFormat::Raw, Protection::Plain);
    }
    desk.node.add_image("/p/t.raw", ByteSize::mib(1));
    desk.node.add_blank_device("/p/dev", guest(MIB));
    let names = desk.run(ListDirectory::new("/p".as_ref())).unwrap();
    let expected = ["a", "b", "t.raw"].map(str::to_owned).to_vec();
    assert_eq!(names, HostAnswer::Names(expected));
}

#[test]
fn a_file_is_no_directory() {
    let desk = Desk::new();
    desk.run(MakeDirectory::new("/p/new".as_ref())).unwrap();
    desk.run(MakeDirectory::new("/p/new".as_ref())).unwrap();
    desk.create("/p/v", DiskFormat::Raw, Protection::Plain);
    let (path, gold) = ("/p/v".as_ref(), "gold".parse().unwrap());
    for refusal in [
        desk.run(MakeDirectory::new(path)),
        desk.run(OpenDirectory::new(path)),
        desk.run(MarkDirectory::new(path, &gold)),
        desk.run(ListDirectory::new(path)),
    ] {
        refused(refusal, ErrorKind::InvalidRequest, &["/p/v"]);
    }
    let taken = CreateDisk::new(
        path,
        DiskFormat::Raw,
        guest(MIB),
        Protection::Plain,
        DiskContent::Blank,
    );
    refused(desk.run(taken), ErrorKind::AlreadyExists, &["/p/v"]);
}
