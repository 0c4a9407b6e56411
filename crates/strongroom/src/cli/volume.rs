use std::path::PathBuf;

use clap::{Args, Subcommand};
use strongroom_types::{ByteSize, DiskFormat, OfferingId, PoolId, SnapshotId, TemplateId, VolumeId};

/// What a new disk is to hold.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// A template whose content it is to have, in a full copy.
    #[arg(long, value_name = "NAME")]
    pub(crate) template: Option<TemplateId>,
    /// Only what is written lies in the volume; the rest is read from the template until `volume flatten`. Made at once and takes
    /// no room. Of an encrypted volume only what is written is encrypted: what it reads from the template lies in the pool in
    /// clear, and whoever sees the pool sees which parts were never written. So this is for templates that are no secret.
    #[arg(long, requires = "template")]
    pub(crate) overlay: bool,
    /// An image that is no template, whose content it is to have. Nothing is kept of it.
    #[arg(long, value_name = "FILE", conflicts_with = "template")]
    pub(crate) image: Option<PathBuf>,
    /// The image's format. It is never guessed; without it the file's ending says.
    #[arg(long, value_name = "FORMAT", requires = "image")]
    pub(crate) image_format: Option<DiskFormat>,
    /// A raw image that begins as a qcow2 or another image file does is meant as it is.
    #[arg(long, requires = "image")]
    pub(crate) opaque: bool,
    /// Reads the new disk back and compares it with the digest that was recorded of the template.
    #[arg(long, requires = "template")]
    pub(crate) digest: bool,
}

/// A passphrase of the user's. It is never an argument itself: other users see arguments.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Passphrase {
    /// Reads the passphrase from this file, up to the first line break. Better on a file system in memory.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Reads the passphrase from this open file descriptor, up to the first line break.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) passphrase_fd: Option<u32>,
    /// Asks for the passphrase on the terminal.
    #[arg(long)]
    pub(crate) ask_passphrase: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Volume {
    /// Makes a volume.
    Create {
        /// Its id; without it one is made up.
        id: Option<VolumeId>,
        /// The offering, which says whether it is encrypted.
        #[arg(long)]
        offering: OfferingId,
        /// What the guest is to see, such as 10G: a multiple of 512 bytes. K, M, G and T are powers of 1024.
        #[arg(long)]
        size: ByteSize,
        /// The pool; without it the one with the most free space that can do it.
        #[arg(long)]
        pool: Option<PoolId>,
        #[command(flatten)]
        source: Source,
    },
    /// Lists the volumes.
    List,
    /// Shows one volume with its snapshots, header backups and exports.
    Show {
        /// Which volume.
        id: VolumeId,
    },
    /// Makes a volume larger, or smaller with --shrink.
    Resize {
        /// Which volume.
        id: VolumeId,
        /// What the guest is to see.
        size: ByteSize,
        /// The volume becomes smaller, and what is behind the new end is lost. Shrink the file systems in it before.
        #[arg(long)]
        shrink: bool,
    },
    /// Gives a volume a new disk with a new key, in place of the one that it has, which is destroyed once the new one is proved. Id,
    /// size and pool stay.
    Reinstall {
        /// Which volume.
        id: VolumeId,
        #[command(flatten)]
        source: Source,
        /// The volume's snapshots may be lost.
        #[arg(long)]
        lose_snapshots: bool,
    },
    /// Copies into a volume all that it still reads from its template, so that it depends on it no more.
    Flatten {
        /// Which volume.
        id: VolumeId,
    },
    /// Makes a volume with the content of another, under a key of its own.
    Clone {
        /// Which volume.
        source: VolumeId,
        /// The clone's id; without it one is made up.
        id: Option<VolumeId>,
        /// The clone's pool; without it that of its source.
        #[arg(long)]
        pool: Option<PoolId>,
        /// The clone shares passphrase and volume key with its source. Whoever has an old header of one opens the other, for as
        /// long as it lives. Listings say so.
        #[arg(long)]
        share_key: bool,
        /// Reads both once more and compares them.
        #[arg(long)]
        digest: bool,
    },
    /// Moves a volume that nobody has open to another pool, or to another format, under a new key. Both disks are read and compared
    /// before the old one is destroyed.
    Move {
        /// Which volume.
        id: VolumeId,
        /// To which pool.
        #[arg(long)]
        to: PoolId,
        /// How it is to lie there: qcow2 or raw; without it as it lies now.
        #[arg(long)]
        format: Option<DiskFormat>,
        /// The volume's snapshots may be lost. They are never moved.
        #[arg(long)]
        lose_snapshots: bool,
    },
    /// Copies a volume into a new image file, encrypted under a passphrase that you give, or in clear.
    Export {
        /// Which volume.
        id: VolumeId,
        /// The new file. It lies in no pool and not in the state directory.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
        /// How the image lies there: qcow2 or raw.
        #[arg(long, default_value = "qcow2")]
        format: DiskFormat,
        #[command(flatten)]
        passphrase: Passphrase,
        /// Writes the content of an encrypted volume in clear, for this reason, which is logged and recorded for good.
        #[arg(long, value_name = "REASON", conflicts_with = "Passphrase")]
        declassify: Option<String>,
        /// Reads both once more and compares them.
        #[arg(long)]
        digest: bool,
    },
    /// Lists the exports that were made, those of deleted volumes included.
    Exports,
    /// Makes a volume from an image file, plain or encrypted. The volume has a key of its own.
    Import {
        /// The volume's id; without it one is made up.
        id: Option<VolumeId>,
        /// The offering, which says whether the volume is encrypted.
        #[arg(long)]
        offering: OfferingId,
        /// The image. It stays as it is.
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
        /// The image's format. It is never guessed; without it the file's ending says.
        #[arg(long, value_name = "FORMAT")]
        format: Option<DiskFormat>,
        /// A raw image that begins as a qcow2 or another image file does is meant as it is: the guest then reads that file itself.
        #[arg(long)]
        opaque: bool,
        #[command(flatten)]
        passphrase: Passphrase,
        /// What the guest is to see; without it as much as the image has.
        #[arg(long)]
        size: Option<ByteSize>,
        /// The pool; without it the one with the most free space that can do it.
        #[arg(long)]
        pool: Option<PoolId>,
        /// Reads both once more and compares them.
        #[arg(long)]
        digest: bool,
    },
    /// Takes a snapshot of a volume that nobody has open.
    Snapshot {
        /// Which volume.
        id: VolumeId,
        /// The snapshot's name; without it one is made up.
        name: Option<SnapshotId>,
        /// Removes the snapshot instead.
        #[arg(long, requires = "name")]
        delete: bool,
    },
    /// Makes a volume what it was at a snapshot, its size included. What was written since is lost.
    Restore {
        /// Which volume.
        id: VolumeId,
        /// Which snapshot.
        name: SnapshotId,
    },
    /// Proves that a volume is what its record says: header, key, metadata.
    Verify {
        /// Which volume.
        id: VolumeId,
        /// Reads it from end to end and shows the SHA-256 of what its guest reads.
        #[arg(long)]
        digest: bool,
    },
    /// Copies the header of a raw LUKS volume into a new file, against damage. Whoever has the file and the key opens the volume,
    /// so it is recorded and destroyed with the volume.
    BackUpHeader {
        /// Which volume.
        id: VolumeId,
        /// The new file.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Removes a volume, and of an encrypted one the key, keyslots and header backups, for ever.
    Delete {
        /// Which volume.
        id: VolumeId,
    },
}
