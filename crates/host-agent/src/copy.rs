//! Copies content into a disk.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use strongroom_endpoint_selector::{Disk, EndpointError};
use strongroom_types::Call;

use crate::pieces::{Pieces, WINDOW, Written};
use crate::source::{Source, is_raw_luks};
use crate::tools::{Loaded, Tools};
use crate::{failure, inspect, reading};

/// Copies all of a source, which stays as it is meanwhile, over a disk. `fresh` says that the disk was made just now and nothing was written there.
///
/// What a raw LUKS disk never got is not copied, for it is noise. A fresh disk then has nothing there either; on one that has content,
/// zeros are written there.
pub(crate) fn copy(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    source: &Source<'_>,
    into: &Disk<'_>,
    fresh: bool,
) -> Result<(), EndpointError> {
    all(tools, call, operation, source, into, fresh).map_err(|e| source.blame(operation, e))?;
    source.unchanged(operation)
}

fn all(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    source: &Source<'_>,
    into: &Disk<'_>,
    fresh: bool,
) -> Result<(), EndpointError> {
    let end = source.size.get();
    let mut pieces = match Pieces::of(tools, call, operation, source, end)? {
        Pieces::Written(written) if !written.covers(&(0..end))? => Pieces::Written(written),
        _ => return tools.copy(operation, call, &source.content, into, None, fresh),
    };
    let copy = Piecewise {
        tools,
        operation,
        source,
        into,
        fresh,
    };
    let mut left_out = Vec::new();
    let mut at = 0;
    while at < end {
        inspect::go_on(call, operation)?;
        let window = pieces.window(at)?;
        let start = window.first().map_or(end, |first| first.start);
        if start > at {
            let hole = at..start;
            if fresh {
                left_out.push(hole);
            } else {
                copy.tools.store_zeros(operation, call, into, &hole)?;
            }
        }
        at = window.last().map_or(end, |last| last.end);
        copy.window(&portion(call, &(start..at), end), &window)?;
        call.report(at as f64 / end as f64);
    }
    if fresh && is_raw_luks(into) {
        copy.settle(call, &left_out)?;
    }
    Ok(())
}

struct Piecewise<'a> {
    tools: &'a Tools,
    operation: &'static str,
    source: &'a Source<'a>,
    into: &'a Disk<'a>,
    fresh: bool,
}

impl Piecewise<'_> {
    /// Copies one piece as it is, however long, and several with zeros in between.
    fn window(&self, call: &Call, window: &[Range<u64>]) -> Result<(), EndpointError> {
        let (Some(first), Some(last)) = (window.first(), window.last()) else {
            return Ok(());
        };
        let content = &self.source.content;
        if window.len() == 1 {
            return self
                .tools
                .copy(self.operation, call, content, self.into, Some(first), self.fresh);
        }
        debug_assert!(last.end - first.start <= WINDOW);
        let loaded = self
            .tools
            .load(self.operation, call, content, &(first.start..last.end))?;
        clear_gaps(&loaded, window).map_err(|e| failure::io(self.operation, self.source.path(), e))?;
        self.tools
            .store(self.operation, call, content, &loaded, self.into, first.start)
    }

    /// Makes sure that what was left out is as little there in the new disk as in the source. Where a file system has no holes, or
    /// larger ones, zeros are written.
    fn settle(&self, call: &Call, left_out: &[Range<u64>]) -> Result<(), EndpointError> {
        let (into, protection) = (self.into, self.into.protection.format());
        let (facts, _) = reading::disk(self.operation, into.location, into.format, protection)?;
        let end = self.source.size.get();
        let Some(written) = Written::open(self.operation, self.into.location, facts.payload_offset, end)?
        else {
            return Ok(());
        };
        for hole in left_out {
            let mut at = hole.start;
            while let Some(there) = written.next(at)?.filter(|there| there.start < hole.end) {
                inspect::go_on(call, self.operation)?;
                at = there.end.min(hole.end);
                self.tools
                    .store_zeros(self.operation, call, self.into, &(there.start..at))?;
            }
        }
        Ok(())
    }
}

/// Makes what is between the pieces of a window zeros: it is noise.
pub(crate) fn clear_gaps(loaded: &Loaded, window: &[Range<u64>]) -> io::Result<()> {
    let Some(first) = window.first() else {
        return Ok(());
    };
    window.windows(2).try_for_each(|pair| match pair {
        [one, next] => loaded.clear(&(one.end - first.start..next.start - first.start)),
        _ => Ok(()),
    })
}

/// A call whose progress is that of a part of the work.
pub(crate) fn portion(call: &Call, part: &Range<u64>, of: u64) -> Call {
    let (whole, start, length) = (call.clone(), part.start, part.end - part.start);
    call.clone().with_progress(Arc::new(move |fraction| {
        whole.report((start as f64 + fraction * length as f64) / of as f64);
    }))
}
