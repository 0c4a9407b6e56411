use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use strongroom_endpoint_selector::{
    CompareContent, CreateDisk, Disk, DiskContent, DiskLocation, EndpointError, ErrorKind, FlattenDisk,
    GrowDisk, HostAnswer, Protection, ReplaceContent, Sameness, SourceImage, VerifyDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{
    ByteSize, Call, Capability, CapabilityReport, DiskFormat, EncryptionFormat, Finding, GuestSize,
};

use crate::tools::Tools;
use crate::vm::{self, Hypervisor};
use crate::{content, create, directory, failure, flatten, grow, inspect};

const PROBE: &str = "Probe";

/// What a probe found.
pub(crate) struct Probed {
    pub(crate) capabilities: CapabilityReport,
    pub(crate) tools: BTreeMap<String, String>,
    pub(crate) free_memory: ByteSize,
    pub(crate) free_cores: u32,
}

/// Does each thing small, and looks at the result.
pub(crate) fn probe(
    tools: &Tools,
    hypervisor: Option<&Hypervisor>,
    call: &Call,
    scratch: &Path,
) -> Result<Probed, EndpointError> {
    let place = tempfile::Builder::new()
        .prefix(".strongroom-probe-")
        // QEMU may be another user, who has to find the files that libvirt gives it.
        .permissions(fs::Permissions::from_mode(0o711))
        .tempdir_in(scratch)
        .map_err(|e| failure::io(PROBE, scratch, e))?;
    let key = Passphrase::generate().map_err(|e| EndpointError::new(ErrorKind::Io, PROBE, e.to_string()))?;
    let bench = Bench {
        tools,
        call,
        place: place.path(),
        key: &key,
    };
    // As they are before they are tried: one that is exchanged meanwhile is another one.
    let files = tools.files();
    let mut capabilities = CapabilityReport::new();
    for (position, capability) in Capability::ALL.into_iter().enumerate() {
        if vm::probes(capability) {
            continue;
        }
        inspect::go_on(call, PROBE)?;
        capabilities.record(capability, bench.find(capability));
        call.report((position + 1) as f64 / Capability::ALL.len() as f64);
    }
    for (capability, finding) in vm::find(hypervisor, tools, call, place.path()) {
        capabilities.record(capability, finding);
    }
    inspect::go_on(call, PROBE)?;
    Ok(Probed {
        capabilities,
        tools: tools.versions(call).into_iter().chain(files).collect(),
        free_memory: free_memory(),
        free_cores: cores(),
    })
}

struct Bench<'b> {
    tools: &'b Tools,
    call: &'b Call,
    place: &'b Path,
    key: &'b Passphrase,
}

impl Bench<'_> {
    fn find(&self, capability: Capability) -> Finding {
        let begun = Instant::now();
        let luks = |format| Protection::Luks {
            format,
            key: self.key,
        };
        let found = match capability {
            Capability::PlainImages => self
                .life(DiskFormat::Raw, Protection::Plain)
                .and_then(|()| self.life(DiskFormat::Qcow2, Protection::Plain))
                .map(|()| "made, grew and read a raw and a qcow2 image"),
            Capability::Qcow2Luks => self
                .life(DiskFormat::Qcow2, luks(EncryptionFormat::Luks1))
                .map(|()| "made, grew and opened a qcow2 with LUKS1, refused another key"),
            Capability::EncryptedOverlay => self
                .overlay()
                .map(|()| "made an encrypted overlay, wrote to it, let go of its base, and read it back"),
            Capability::RawLuks1 => self
                .life(DiskFormat::Raw, luks(EncryptionFormat::Luks1))
                .map(|()| "cryptsetup made a LUKS1 disk; QEMU opened it and refused another key"),
            Capability::Luks2 => self
                .life(DiskFormat::Raw, luks(EncryptionFormat::Luks2))
                .map(|()| "made and unlocked a LUKS2 disk, refused another key"),
            Capability::DmCrypt => self
                .tools
                .try_mapping(PROBE, self.call, self.place, self.key)
                .map(|()| "opened and closed a LUKS disk as a block device"),
            Capability::DetachedHeader => self
                .tools
                .try_detached_header(PROBE, self.call, self.place, self.key)
                .map(|()| "unlocked a LUKS1 disk with its header in another file"),
            Capability::KeyslotChange => self
                .tools
                .try_keyslot_change(PROBE, self.call, self.place, self.key)
                .map(|()| "added a keyslot, removed the first, and unlocked with the new one"),
            _ => Err(EndpointError::new(
                ErrorKind::Unsupported,
                PROBE,
                "this agent does not know how to find out",
            )),
        };
        match found {
            Ok(evidence) => Finding::Works(format!("{evidence} ({} ms)", begun.elapsed().as_millis())),
            Err(e) => Finding::Missing(e.message().to_owned()),
        }
    }

    /// Makes an encrypted disk on a plain image, writes to its beginning, makes it stand alone, and compares it.
    fn overlay(&self) -> Result<(), EndpointError> {
        let (base, part, whole) = (
            self.place.join("base"),
            self.place.join("part"),
            self.place.join("whole"),
        );
        let (below, above) = ([1; 256 << 10], [2; 64 << 10]);
        let both = [&above[..], below.get(above.len()..).unwrap_or_default()].concat();
        for (path, bytes) in [(&base, &below[..]), (&part, &above), (&whole, &both)] {
            fs::write(path, bytes).map_err(|e| failure::io(PROBE, path, e))?;
        }
        let path = self.place.join("overlay");
        let location = DiskLocation::File(path.clone());
        let protection = Protection::Luks {
            format: EncryptionFormat::Luks1,
            key: self.key,
        };
        let size = GuestSize::new(below.len() as u64)
            .map_err(|e| EndpointError::new(ErrorKind::Io, PROBE, e.to_string()))?;
        let image = |path| SourceImage::new(path, DiskFormat::Raw);
        let (tools, call) = (self.tools, self.call);
        let made = CreateDisk::new(
            &path,
            DiskFormat::Qcow2,
            size,
            protection,
            DiskContent::Overlay(image(&base)),
        );
        let alone = Disk::new(&location, DiskFormat::Qcow2, protection);
        let disk = alone.on(Some(image(&base)));
        let same = create::create(tools, call, &made)
            .and_then(|_| content::replace(tools, call, &ReplaceContent::new(disk, image(&part).into())))
            .and_then(|_| flatten::flatten(tools, call, &FlattenDisk::new(disk)))
            .and_then(|_| content::compare(tools, call, &CompareContent::new(alone, image(&whole).into())));
        for path in [&path, &base, &part, &whole] {
            directory::delete(path)?;
        }
        match same? {
            HostAnswer::Compared(Sameness::Identical) => Ok(()),
            _ => Err(EndpointError::new(
                ErrorKind::Tool,
                PROBE,
                "the overlay came out with another content",
            )),
        }
    }

    /// Makes a disk, grows it and verifies it.
    fn life(&self, format: DiskFormat, protection: Protection<'_>) -> Result<(), EndpointError> {
        let size = |sectors: u64| {
            GuestSize::new(sectors * 512).map_err(|e| EndpointError::new(ErrorKind::Io, PROBE, e.to_string()))
        };
        let path = self.place.join("disk");
        let made = CreateDisk::new(&path, format, size(2048)?, protection, DiskContent::Blank);
        let location = DiskLocation::File(path.clone());
        let disk = Disk::new(&location, format, protection);
        let life = create::create(self.tools, self.call, &made)
            .and_then(|_: HostAnswer| grow::grow(self.tools, self.call, &GrowDisk::new(disk, size(2049)?)))
            .and_then(|_| inspect::verify(self.tools, self.call, &VerifyDisk::new(disk)))
            .map(drop);
        directory::delete(&path)?;
        life
    }
}

/// `MemAvailable` of the kernel; zero when it does not say.
fn free_memory() -> ByteSize {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
    });
    ByteSize::kib(kib.unwrap_or(0))
}

fn cores() -> u32 {
    std::thread::available_parallelism()
        .ok()
        .and_then(|n| u32::try_from(n.get()).ok())
        .unwrap_or(0)
}
