//! Which paths a command touches.

use std::path::Path;

use strongroom_endpoint_selector::{ContentSource, Disk, DiskContent, HostCommand};

/// All paths of a command; none of a command that is not known here.
pub(crate) fn paths<'a>(command: &HostCommand<'a>) -> Vec<&'a Path> {
    match command {
        HostCommand::OpenDirectory(c) => vec![c.path],
        HostCommand::MarkDirectory(c) => vec![c.path],
        HostCommand::MakeDirectory(c) => vec![c.path],
        HostCommand::ListDirectory(c) => vec![c.path],
        HostCommand::SweepStaging(c) => vec![c.path],
        HostCommand::DeleteDisk(c) => vec![c.path],
        HostCommand::IdentifyDevice(c) => vec![c.path],
        HostCommand::RescanDevice(c) => vec![c.path],
        HostCommand::FormatDevice(c) => vec![c.location.path()],
        HostCommand::FormatQcow2(c) => {
            let base = c.base.map(|base| base.path);
            [c.location.path()].into_iter().chain(base).collect()
        }
        HostCommand::ProveBlank(c) => vec![c.location.path()],
        HostCommand::BlankDevice(c) => vec![c.location.path()],
        HostCommand::EraseKeyslots(c) => vec![c.location.path()],
        HostCommand::InspectDisk(c) => [c.location.path()].into_iter().chain(c.base_in).collect(),
        HostCommand::CreateDisk(c) => [c.path].into_iter().chain(of_content(&c.content)).collect(),
        HostCommand::VerifyDisk(c) => of_disk(&c.disk),
        HostCommand::GrowDisk(c) => of_disk(&c.disk),
        HostCommand::ShrinkDisk(c) => of_disk(&c.disk),
        HostCommand::FlattenDisk(c) => of_disk(&c.disk),
        HostCommand::SnapshotDisk(c) => of_disk(&c.disk),
        HostCommand::DigestContent(c) => of_disk(&c.disk),
        HostCommand::ReplaceContent(c) => [of_disk(&c.disk), of_source(&c.source)].concat(),
        HostCommand::CompareContent(c) => [of_disk(&c.disk), of_source(&c.with)].concat(),
        HostCommand::BackUpHeader(c) => [of_disk(&c.disk), vec![c.to]].concat(),
        _ => Vec::new(),
    }
}

fn of_disk<'a>(disk: &Disk<'a>) -> Vec<&'a Path> {
    let base = disk.base.map(|base| base.path);
    [disk.location.path()].into_iter().chain(base).collect()
}

fn of_content<'a>(content: &DiskContent<'a>) -> Vec<&'a Path> {
    match content {
        DiskContent::Template(image) | DiskContent::Overlay(image) => vec![image.path],
        DiskContent::Copy(disk) | DiskContent::Declassified(disk, _) => of_disk(disk),
        _ => Vec::new(),
    }
}

fn of_source<'a>(source: &ContentSource<'a>) -> Vec<&'a Path> {
    match source {
        ContentSource::Image(image) => vec![image.path],
        ContentSource::Disk(disk) | ContentSource::Declassified(disk, _) => of_disk(disk),
        _ => Vec::new(),
    }
}
