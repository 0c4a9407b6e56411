//! The digest of what a guest reads.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};
use strongroom_endpoint_selector::{
    ContentDigest, ContentSource, DigestContent, Disk, EndpointError, ErrorKind, HostAnswer,
};
use strongroom_types::{Call, GuestSize};

use crate::copy::{clear_gaps, portion};
use crate::pieces::{Pieces, WINDOW};
use crate::source::Source;
use crate::tools::Tools;
use crate::{failure, inspect};

const DIGEST: &str = "DigestContent";

/// How much is hashed at a time.
const BLOCK: usize = 256 << 10;

/// Computes the digest of a disk.
pub(crate) fn digest(tools: &Tools, call: &Call, c: &DigestContent<'_>) -> Result<HostAnswer, EndpointError> {
    let source = Source::admit(tools, call, DIGEST, ContentSource::Disk(c.disk))?;
    let bytes = c.first.unwrap_or(source.size);
    if bytes > source.size {
        let message = format!(
            "{} has {} bytes, not {}",
            c.disk.location,
            source.size.get(),
            bytes.get()
        );
        return Err(EndpointError::new(ErrorKind::InvalidRequest, DIGEST, message));
    }
    let sha256 = of(tools, call, DIGEST, &source, bytes, bytes)?;
    source.unchanged(DIGEST)?;
    Ok(HostAnswer::Digest(ContentDigest::new(sha256, bytes)))
}

/// Fails when a disk does not hold what it should.
pub(crate) fn hold(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    disk: &Disk<'_>,
    expected: ContentDigest,
) -> Result<(), EndpointError> {
    let source = Source::admit(tools, call, operation, ContentSource::Disk(*disk))?;
    let found = of(tools, call, operation, &source, expected.bytes, expected.bytes)?;
    if found == expected.sha256 {
        return Ok(());
    }
    let found = ContentDigest::new(found, expected.bytes);
    let message = format!("its content has the SHA-256 {found}, not {expected}; it is not what was recorded");
    Err(EndpointError::new(ErrorKind::UntrustedImage, operation, message))
}

/// The digest of the first bytes of a content, followed by zeros up to `padded`.
///
/// Content is in memory only, a window at a time. What reads as zeros is not read. Neither is what a raw LUKS disk in a file never got,
/// which counts as zeros: the noise there is nobody's, and another one in each copy.
pub(crate) fn of(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    source: &Source<'_>,
    bytes: GuestSize,
    padded: GuestSize,
) -> Result<[u8; 32], EndpointError> {
    let end = bytes.get();
    let mut pieces = Pieces::of(tools, call, operation, source, end)?;
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < end {
        inspect::go_on(call, operation)?;
        let mut window = pieces.window(at)?;
        if let [first] = window.as_mut_slice() {
            first.end = first.end.min(first.start + WINDOW);
        }
        let start = window.first().map_or(end, |first| first.start);
        zeros(call, operation, &mut hash, start - at)?;
        at = window.last().map_or(end, |last| last.end);
        if at > start {
            let part = start..at;
            let loaded = tools.load(
                operation,
                &portion(call, &part, padded.get()),
                &source.content,
                &part,
            )?;
            if matches!(pieces, Pieces::Written(_)) {
                clear_gaps(&loaded, &window).map_err(|e| failure::io(operation, source.path(), e))?;
            }
            read(&mut hash, loaded.file(), &part).map_err(|e| failure::io(operation, source.path(), e))?;
        }
        call.report(at as f64 / padded.get() as f64);
    }
    zeros(call, operation, &mut hash, padded.get().saturating_sub(end))?;
    Ok(hash.finalize().into())
}

fn zeros(
    call: &Call,
    operation: &'static str,
    hash: &mut Sha256,
    mut length: u64,
) -> Result<(), EndpointError> {
    let block = vec![0; BLOCK];
    while length > 0 {
        inspect::go_on(call, operation)?;
        let part = usize::try_from(length).unwrap_or(BLOCK).min(BLOCK);
        hash.update(block.get(..part).unwrap_or_default());
        length -= part as u64;
    }
    Ok(())
}

fn read(hash: &mut Sha256, file: &std::fs::File, part: &Range<u64>) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let (mut at, length) = (0, part.end - part.start);
    while at < length {
        let wanted = usize::try_from(length - at).unwrap_or(BLOCK).min(BLOCK);
        let block = block.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(block, at)?;
        hash.update(&*block);
        at += wanted as u64;
    }
    Ok(())
}
