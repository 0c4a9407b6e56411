use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use strongroom_endpoint_selector::{
    Disk, DiskFacts, DiskLocation, EndpointError, ErrorKind, HostAnswer, InspectDisk, Protection,
    Verification, VerifyDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, EncryptionFormat};

use crate::overlay::{self, Lies};
use crate::tools::Tools;
use crate::{failure, reading, source};

/// What a disk is, read from its header; it must be what the command says.
pub(crate) fn inspect(tools: &Tools, call: &Call, c: &InspectDisk<'_>) -> Result<HostAnswer, EndpointError> {
    const INSPECT: &str = "InspectDisk";
    let said = Said {
        location: c.location,
        format: c.format,
        encryption: c.encryption,
        lies: c.base_in.map_or(Lies::Alone, Lies::In),
        home: home(c.location),
    };
    if let Some(directory) = c.base_in {
        reading::absolute(INSPECT, directory)?;
    }
    let plain = match c.location {
        DiskLocation::File(path) if c.encryption.is_none() => {
            Some((path, reading::open(INSPECT, c.location)?))
        }
        _ => None,
    };
    // Before anything is read: what was changed meanwhile has another stamp.
    let stamp = match &plain {
        Some((path, file)) => Some(file.metadata().map_err(|e| failure::io(INSPECT, path, e))?),
        None => None,
    };
    let mut facts = facts(tools, call, INSPECT, &said)?;
    facts.stamp = stamp.as_ref().map(source::stamp);
    if let Some((path, file)) = plain
        && c.format == DiskFormat::Raw
    {
        facts.claims = claims(&file).map_err(|e| failure::io(INSPECT, path, e))?;
    }
    Ok(HostAnswer::Disk(facts))
}

/// By what image formats are known: the first bytes of each, from `block/*.c` of QEMU and the formats' own specifications, and where
/// they are.
const CLAIMS: [(&str, u64, &[u8]); 10] = [
    ("qcow2", 0, b"QFI\xfb"),
    ("qed", 0, b"QED\0"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"COWD"),
    ("vmdk", 0, b"# Disk DescriptorFile"),
    ("vhdx", 0, b"vhdxfile"),
    ("vhd", 0, b"conectix"),
    ("vdi", 0x40, b"\x7f\x10\xda\xbe"),
    ("parallels", 0, b"WithoutFreeSpace"),
    ("parallels", 0, b"WithouFreSpacExt"),
];

/// Which format a raw file claims by its first bytes.
fn claims(file: &File) -> io::Result<Option<&'static str>> {
    for (name, at, magic) in CLAIMS {
        let mut bytes = vec![0; magic.len()];
        match file.read_exact_at(&mut bytes, at) {
            Ok(()) if bytes == magic => return Ok(Some(name)),
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(e),
            _ => {}
        }
    }
    Ok(None)
}

/// What a disk is said to be.
struct Said<'a> {
    location: &'a DiskLocation,
    format: DiskFormat,
    encryption: Option<EncryptionFormat>,
    lies: Lies<'a>,
    home: &'a Path,
}

/// The directory to which names in the header of a disk are relative.
fn home(location: &DiskLocation) -> &Path {
    location.path().parent().unwrap_or(Path::new("/"))
}

/// Reads the header with our own reader and, where QEMU opens the disk, with QEMU's; they must agree.
fn facts(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    said: &Said<'_>,
) -> Result<DiskFacts, EndpointError> {
    let location = said.location;
    reading::absolute(operation, location.path())?;
    let (mut facts, named) = reading::disk(operation, location, said.format, said.encryption)?;
    let named_base = named.as_ref();
    facts.base = overlay::base(operation, location, said.home, named_base, said.lies, facts.guest)?;
    if said.encryption == Some(EncryptionFormat::Luks2) {
        return Ok(facts);
    }
    let seen = tools.info(operation, call, location, said.format, said.encryption)?;
    let disagree = |ours: String, theirs: String| {
        let message = format!("two readers disagree on {location}: {ours} and {theirs}");
        Err(EndpointError::new(ErrorKind::WrongDisk, operation, message))
    };
    if seen.guest != facts.guest.get() || seen.encrypted != facts.encryption.is_some() {
        let say = |bytes: u64, encrypted: bool| format!("{bytes} bytes, encrypted {encrypted}");
        return disagree(
            say(facts.guest.get(), facts.encryption.is_some()),
            say(seen.guest, seen.encrypted),
        );
    }
    let ours = named.map(|named| {
        let text = |name: &OsStr| name.to_string_lossy().into_owned();
        (text(&named.name), named.format.as_deref().map(text))
    });
    if ours != seen.backing {
        return disagree(format!("base {ours:?}"), format!("base {:?}", seen.backing));
    }
    facts.snapshots = seen.snapshots;
    Ok(facts)
}

/// Reads the header and opens the disk with its key.
pub(crate) fn prove(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    disk: &Disk<'_>,
) -> Result<DiskFacts, EndpointError> {
    prove_for(tools, call, operation, disk, home(disk.location))
}

/// The same of a disk that is going to have its name in the directory `home`.
pub(crate) fn prove_for(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    disk: &Disk<'_>,
    home: &Path,
) -> Result<DiskFacts, EndpointError> {
    let said = Said {
        location: disk.location,
        format: disk.format,
        encryption: disk.protection.format(),
        lies: disk.base.map_or(Lies::Alone, Lies::On),
        home,
    };
    let facts = facts(tools, call, operation, &said)?;
    tools.open_with_key(operation, call, disk)?;
    Ok(facts)
}

/// Proves all that can be proved of a disk.
pub(crate) fn verify(tools: &Tools, call: &Call, c: &VerifyDisk<'_>) -> Result<HostAnswer, EndpointError> {
    const VERIFY: &str = "VerifyDisk";
    let facts = prove(tools, call, VERIFY, &c.disk)?;
    let mut checked = Vec::new();
    match c.disk.protection {
        Protection::Plain => checked.push(format!("two readers agree on plain {}", facts.format)),
        Protection::Luks { format, .. } => {
            let readers = if format.opens_in_qemu() {
                "two readers agree"
            } else {
                "the header reads"
            };
            checked.push(format!(
                "{readers} on {format}, {}",
                facts.cipher.as_deref().unwrap_or("unknown cipher")
            ));
            checked.push("the stored key opens it".to_owned());
            refuse_another_key(tools, call, &c.disk, format)?;
            checked.push("another key is refused".to_owned());
        }
    }
    if let Some(base) = &facts.base {
        checked.push(format!(
            "it lies on {}, which is plain and stands alone",
            base.path.display()
        ));
    }
    if facts.format == DiskFormat::Qcow2 {
        checked.push(match tools.check_metadata(VERIFY, call, &c.disk)? {
            0 => "the metadata is consistent".to_owned(),
            leaks => format!("the metadata loses nothing, but {leaks} clusters are allocated for nothing"),
        });
    }
    Ok(HostAnswer::Verified(Verification::new(facts, checked)))
}

/// A disk that opens with any key is not encrypted in any sense that matters.
fn refuse_another_key(
    tools: &Tools,
    call: &Call,
    disk: &Disk<'_>,
    format: EncryptionFormat,
) -> Result<(), EndpointError> {
    const VERIFY: &str = "VerifyDisk";
    let other =
        Passphrase::generate().map_err(|e| EndpointError::new(ErrorKind::Io, VERIFY, e.to_string()))?;
    let wrong = Disk::new(
        disk.location,
        disk.format,
        Protection::Luks { format, key: &other },
    )
    .on(disk.base);
    match tools.open_with_key(VERIFY, call, &wrong) {
        Err(e) if e.kind() == ErrorKind::WrongKey => Ok(()),
        Err(e) => Err(e),
        Ok(()) => {
            let message = format!("{} opens with a key that was made up just now", disk.location);
            Err(EndpointError::new(ErrorKind::WrongDisk, VERIFY, message))
        }
    }
}

/// The call's end as an error of this operation.
pub(crate) fn go_on(call: &Call, operation: &'static str) -> Result<(), EndpointError> {
    call.check().map_err(|e| failure::interrupted(operation, e))
}
