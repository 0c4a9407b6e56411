//! What encryption costs a virtual machine that starts or gets another disk, against plain disks in the same run. Prints a table in Markdown.
//!
//! `cargo bench -p strongroom-host-agent --bench machines`, as root. The guests stand still: what is measured is the host's part.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot be made has failed"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{
    AttachVmDisk, Boot, CreateDisk, Disk, DiskContent, DiskLocation, Endpoint, HostCommand, Protection,
    StartVm, StopVm, StopVmHow, Vm, VmDisk,
};
use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_lab::Hypervisors;
use strongroom_secret::{Origin, Passphrase};
use strongroom_types::{ByteSize, Call, DiskFormat, DiskTarget, EncryptionFormat, GuestSize, VmId, VolumeId};
use zeroize::Zeroizing;

const ROUNDS: usize = 7;

/// A disk, and what opens it.
struct Volume {
    target: DiskTarget,
    id: VolumeId,
    location: DiskLocation,
    key: Option<Passphrase>,
}

/// How a disk is made.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Generated,
    /// With the derivation that a person's passphrase gets.
    Typed,
}

fn run<'c>(agent: &HostAgent, command: impl Into<HostCommand<'c>>) {
    let command = command.into();
    let name = command.name();
    if let Err(error) = agent.run(&Call::new(), &command) {
        println!("{name}: {error}");
        std::process::exit(1);
    }
}

impl Volume {
    fn made(agent: &HostAgent, path: PathBuf, target: &str, kind: Kind) -> Self {
        let key = match kind {
            Kind::Plain => None,
            Kind::Generated => Some(Passphrase::generate().unwrap()),
            Kind::Typed => {
                let typed = Zeroizing::new(b"correct horse battery staple".to_vec());
                Some(Passphrase::restore(typed, Origin::Imported).unwrap())
            }
        };
        let volume = Self {
            target: target.parse().unwrap(),
            id: path.file_name().unwrap().to_str().unwrap().parse().unwrap(),
            location: DiskLocation::File(path),
            key,
        };
        let size = GuestSize::new(64 << 20).unwrap();
        let (path, protection) = (volume.location.path(), volume.disk().disk.protection);
        let create = CreateDisk::new(path, DiskFormat::Qcow2, size, protection, DiskContent::Blank);
        run(agent, create);
        volume
    }

    fn disk(&self) -> VmDisk<'_> {
        let protection = match &self.key {
            None => Protection::Plain,
            Some(key) => Protection::Luks {
                format: EncryptionFormat::Luks1,
                key,
            },
        };
        VmDisk::new(
            &self.target,
            &self.id,
            Disk::new(&self.location, DiskFormat::Qcow2, protection),
        )
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn main() {
    let lab = Hypervisors::one().unwrap();
    let agent = HostAgent::new(
        "h1".parse().unwrap(),
        ToolPaths::system(),
        Arc::new(SystemRunner::new()),
    )
    .with_hypervisor(lab.first().uri().parse().unwrap());
    let vm: VmId = "vm-1".parse().unwrap();
    let kinds = [Kind::Plain, Kind::Generated, Kind::Typed];
    let all: Vec<Vec<Volume>> = kinds
        .iter()
        .enumerate()
        .map(|(number, kind)| {
            let targets = ["vda", "vdb", "vdc", "vdd"].iter();
            let at = |target: &str| lab.first().shared().join(format!("{target}-{number}"));
            targets
                .map(|target| Volume::made(&agent, at(target), target, *kind))
                .collect()
        })
        .collect();
    println!("| what | plain | encrypted | ratio | typed passphrase | ratio |\n|---|---|---|---|---|---|");
    let start = |disks: &[VmDisk<'_>]| {
        let machine = Vm::new(&vm, ByteSize::mib(64), 1, Boot::Disk);
        run(&agent, StartVm::new(machine.with_disks(disks).paused()));
    };
    let stop = || run(&agent, StopVm::new(&vm, StopVmHow::PowerOff));
    for (what, disks) in [("start with 1 disk", 1), ("start with 4 disks", 4), ("attach", 0)] {
        let mut times = vec![Vec::new(); kinds.len()];
        // One after the other, so that what else the machine does meets all alike; the first round finds out about QEMU.
        for round in 0..=ROUNDS {
            for (volumes, times) in all.iter().zip(&mut times) {
                let chosen: Vec<_> = volumes.iter().take(disks.max(1)).map(Volume::disk).collect();
                let time = if disks > 0 {
                    timed(|| start(&chosen))
                } else {
                    start(&chosen);
                    timed(|| run(&agent, AttachVmDisk::new(&vm, volumes[1].disk())))
                };
                stop();
                if round > 0 {
                    times.push(time);
                }
            }
        }
        let medians: Vec<f64> = times
            .iter_mut()
            .map(|times| {
                times.sort();
                times[ROUNDS / 2].as_secs_f64()
            })
            .collect();
        let [plain, encrypted, typed] = [medians[0], medians[1], medians[2]];
        println!(
            "| {what} | {plain:.2} s | {encrypted:.2} s | {:.2} | {typed:.2} s | {:.2} |",
            encrypted / plain,
            typed / plain
        );
    }
}
