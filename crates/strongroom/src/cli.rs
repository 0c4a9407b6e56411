//! What can be said on the command line.

mod agent;
mod pool;
mod template;
mod vm;
mod volume;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use strongroom_host_agent::HypervisorUri;
use strongroom_types::{DiskFormat, HostId, OfferingId};

pub(crate) use self::agent::{Agent, Certificates};
pub(crate) use self::pool::{Pool, PoolAdd, PoolCheck};
pub(crate) use self::template::Template;
pub(crate) use self::vm::{Disk as VmDisk, Vm, VmCreate};
pub(crate) use self::volume::{Passphrase, Source, Volume};

/// Encrypted volumes on this machine, from offering to crypto-erase.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "First steps:\n  strongroom demo                                   the whole life of encrypted volumes, checked\n  \
                  strongroom --state DIR host probe                 what can this machine do?\n  \
                  strongroom --state DIR pool add main --directory /srv/volumes\n  \
                  strongroom --state DIR offering create secret --encrypt\n  \
                  strongroom --state DIR volume create --offering secret --size 10G"
)]
pub(crate) struct Cli {
    /// The state directory: database, key-encryption key and lock. Made with mode 0700 when it is not there.
    #[arg(long, global = true, value_name = "DIR", env = "STRONGROOM_STATE")]
    pub(crate) state: Option<PathBuf>,

    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,

    /// Tells more about what is done, on standard error; twice for everything. No key is ever shown.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Ends the command after this many seconds; what was begun is undone.
    #[arg(long, global = true, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,

    /// Looks for qemu-img, cryptsetup and virsh in this directory instead of the system's.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) tools: Option<PathBuf>,

    /// The libvirt that runs this machine's virtual machines.
    #[arg(long, global = true, value_name = "URI", env = "STRONGROOM_HYPERVISOR", default_value_t = HypervisorUri::system())]
    pub(crate) hypervisor: HypervisorUri,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Tables and sentences.
    Table,
    /// JSON on standard output: one value for a command, one object a line for the steps of the demo. An error is one object in the
    /// last line of standard error, but for a command line that makes no sense.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the life of encrypted volumes on this machine and checks every step.
    ///
    /// It works in a directory that it makes and removes: --state names it, and nothing may be there yet.
    Demo(Demo),
    /// Does the storage work of this machine for control planes elsewhere, until it is told to stop.
    Agent(Agent),
    /// Certificates for agents and control planes, of an authority in a directory.
    #[command(subcommand)]
    Certificates(Certificates),
    /// Hosts: what they can really do.
    #[command(subcommand)]
    Host(Host),
    /// Disk offerings: what users may ask for.
    #[command(subcommand)]
    Offering(Offering),
    /// Storage pools: where volumes lie.
    #[command(subcommand)]
    Pool(Pool),
    /// Templates: plain images to make volumes from.
    #[command(subcommand)]
    Template(Template),
    /// Volumes: create, look at, resize, snapshot, clone, move, export, import, verify, delete.
    #[command(subcommand)]
    Volume(Volume),
    /// Virtual machines: give them volumes, start and stop them.
    #[command(subcommand)]
    Vm(Vm),
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// A raw or qcow2 image to make the root volume from; without it a file system is made on the spot.
    #[arg(long, value_name = "FILE")]
    pub(crate) template: Option<PathBuf>,

    /// The template's format. It is never guessed; without it the file's ending says.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) template_format: Option<DiskFormat>,

    /// Also boots a guest from an encrypted root volume, which takes libvirt, Debian's cloud kernel and busybox. The guest reads its own
    /// files from there and writes to it.
    #[arg(long)]
    pub(crate) boot: bool,

    /// Leaves the state directory for a look instead of removing it.
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Finds out what this machine can do, by doing it on small images, and registers it.
    Probe {
        /// The name under which it is registered.
        #[arg(long, default_value = "local")]
        name: HostId,
    },
    /// Adds a host that an agent serves elsewhere, and asks it what it can do.
    Add {
        /// The name that is in its certificate.
        name: HostId,
        /// Where its agent listens.
        #[arg(long, value_name = "NAME:PORT")]
        address: String,
        /// The directory with this control plane's certificate.
        #[arg(long, value_name = "DIR")]
        certificates: PathBuf,
    },
    /// Removes a host elsewhere that no pool needs.
    Remove {
        /// Which host.
        name: HostId,
    },
    /// Shows what one host can do, and, of a host elsewhere, whether it can be reached.
    Show {
        /// Which host.
        name: HostId,
    },
    /// Lists the hosts with what they can and cannot do, and those elsewhere with whether they can be reached.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Offering {
    /// Makes an offering.
    Create {
        /// Its name.
        name: OfferingId,
        /// Volumes of this offering are encrypted.
        #[arg(long)]
        encrypt: bool,
        /// How the volumes lie on disk: qcow2 or raw.
        #[arg(long, default_value = "qcow2")]
        format: DiskFormat,
        /// A sentence for listings.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Removes an offering of which there are no volumes.
    Remove {
        /// Which offering.
        name: OfferingId,
    },
    /// Lists the offerings.
    List {
        /// Only those that encrypt, or with `--encrypt=false` only those that do not.
        #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
        encrypt: Option<bool>,
    },
}
