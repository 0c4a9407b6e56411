//! Where the tables of a qcow2 image lie. They are not read.

use crate::Format;
use crate::ImageError;
use crate::qcow2::odd;
use crate::window::Fields;

/// Places in the header, in bytes; docs/interop/qcow2.rst of QEMU, section "Header".
const L1_ENTRIES: usize = 36;
const L1_OFFSET: usize = 40;
const REFCOUNT_OFFSET: usize = 48;
const REFCOUNT_CLUSTERS: usize = 56;
const SNAPSHOTS: usize = 60;
const SNAPSHOTS_OFFSET: usize = 64;

/// QEMU's own limits, `block/qcow2.h`.
const LARGEST_L1: u64 = 32 << 20;
const LARGEST_REFCOUNT_TABLE: u64 = 8 << 20;
const MOST_SNAPSHOTS: u32 = 65_536;

/// What an entry takes at least, in bytes.
const ENTRY: u64 = 8;
const SNAPSHOT: u64 = 40;

/// A part of the file that the header points to.
#[derive(Debug)]
pub(crate) struct Table {
    what: &'static str,
    offset: u64,
    length: u64,
}

impl Table {
    /// The number of snapshots.
    pub(crate) fn snapshots(header: &Fields) -> Result<u32, ImageError> {
        header.u32(SNAPSHOTS)
    }

    /// All that the header points to. The sizes are checked here, the places by [`check_tables`].
    pub(crate) fn of_header(
        header: &Fields,
        cluster_bits: u32,
        size: u64,
        extended_l2: bool,
        luks: Option<(u64, u64)>,
    ) -> Result<Vec<Self>, ImageError> {
        let cluster = 1u64 << cluster_bits;
        let l1_entries = u64::from(header.u32(L1_ENTRIES)?);
        let l2_bits = cluster_bits - if extended_l2 { 4 } else { 3 };
        let needed = size.div_ceil(1 << (cluster_bits + l2_bits));
        if l1_entries < needed {
            return Err(odd(
                "L1 table",
                format_args!("{l1_entries} entries"),
                "it is too small for the size",
            ));
        }
        if l1_entries * ENTRY > LARGEST_L1 {
            return Err(odd(
                "L1 table",
                format_args!("{l1_entries} entries"),
                "it has at most 32 MiB",
            ));
        }
        let refcount_clusters = u64::from(header.u32(REFCOUNT_CLUSTERS)?);
        if !(1..=LARGEST_REFCOUNT_TABLE / cluster).contains(&refcount_clusters) {
            return Err(odd(
                "refcount table",
                format_args!("{refcount_clusters} clusters"),
                "it has one cluster to 8 MiB",
            ));
        }
        let snapshots = Self::snapshots(header)?;
        if snapshots > MOST_SNAPSHOTS {
            return Err(odd("number of snapshots", snapshots, "there are at most 65,536"));
        }
        let table = |what, offset, length| Self { what, offset, length };
        let (luks_offset, luks_length) = luks.unwrap_or_default();
        Ok(vec![
            table("L1 table", header.u64(L1_OFFSET)?, l1_entries * ENTRY),
            table(
                "refcount table",
                header.u64(REFCOUNT_OFFSET)?,
                refcount_clusters * cluster,
            ),
            table(
                "snapshot table",
                header.u64(SNAPSHOTS_OFFSET)?,
                u64::from(snapshots) * SNAPSHOT,
            ),
            table("LUKS header", luks_offset, luks_length),
        ])
    }
}

/// Checks that each table begins with a cluster, behind the first one, ends inside the file and lies over no other.
pub(crate) fn check_tables(tables: &[Table], cluster: u64, length: u64) -> Result<(), ImageError> {
    if let Some(table) = tables
        .iter()
        .find(|t| t.offset % cluster != 0 || t.offset > i64::MAX as u64)
    {
        // QEMU holds this against empty tables too.
        let place = format_args!("at {}", table.offset);
        return Err(odd(table.what, place, "it begins with a cluster of the file"));
    }
    let mut there: Vec<_> = tables.iter().filter(|t| t.length > 0).collect();
    there.sort_by_key(|t| t.offset);
    let mut end = cluster;
    for table in there {
        if table.offset < end {
            return Err(odd(
                table.what,
                format_args!("at {}", table.offset),
                "it lies behind the first cluster and over no other table",
            ));
        }
        end = table.offset.saturating_add(table.length);
        if end > length {
            return Err(ImageError::Truncated {
                format: Format::Qcow2,
                what: table.what,
                need: end,
                have: length,
            });
        }
    }
    Ok(())
}
