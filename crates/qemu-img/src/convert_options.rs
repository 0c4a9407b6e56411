use std::num::NonZeroU8;
use std::path::Path;

use rustix::fs::{CWD, FsWord, Mode, OFlags, openat, statfs};
use strongroom_types::ByteSize;

/// How a target is written, and what has reached the disk when the tool ends.
///
/// [`QemuImg`](crate::QemuImg) syncs every target of a copy afterwards and says so only then; whoever runs a command by
/// other means has to do so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TargetCache {
    /// Through the page cache without any sync (`unsafe`): QEMU's own default for a target.
    Unsafe,
    /// Through the page cache, synced where the format asks for it (`writeback`).
    #[default]
    Writeback,
    /// Past the page cache (`none`). Not every file system can.
    Direct,
    /// [`TargetCache::Direct`] where [`direct_io_pays`] says so, else [`TargetCache::Unsafe`]. A command on its own
    /// says `none`; [`QemuImg`](crate::QemuImg) looks at the target.
    Fastest,
}

impl TargetCache {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unsafe => "unsafe",
            Self::Writeback => "writeback",
            Self::Direct | Self::Fastest => "none",
        }
    }
}

/// How a copy is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ConvertOptions {
    cache: TargetCache,
    parallel: Option<NonZeroU8>,
    out_of_order: bool,
    rate: Option<ByteSize>,
    target_is_zero: bool,
}

impl ConvertOptions {
    /// The most requests that `qemu-img convert` has under way at a time.
    pub const MOST_PARALLEL: u8 = 16;

    /// QEMU's defaults, but with a target that is written through and synced.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The fastest way onto a target that is synced in the end: 16 requests at a time, written in the order in which they
    /// are read, past the page cache where that pays.
    ///
    /// Onto a spinning disk, or where fragments of the target's file matter, [`ConvertOptions::out_of_order`] should be
    /// switched off again.
    #[must_use]
    pub fn fast() -> Self {
        Self {
            cache: TargetCache::Fastest,
            parallel: NonZeroU8::new(Self::MOST_PARALLEL),
            out_of_order: true,
            rate: None,
            target_is_zero: false,
        }
    }

    /// The same with the target written in this way.
    #[must_use]
    pub fn cache(mut self, cache: TargetCache) -> Self {
        self.cache = cache;
        self
    }

    /// The same with this many requests at a time, at most 16.
    #[must_use]
    pub fn parallel(mut self, requests: NonZeroU8) -> Self {
        self.parallel = Some(requests.min(NonZeroU8::new(Self::MOST_PARALLEL).unwrap_or(NonZeroU8::MIN)));
        self
    }

    /// The same, writing whatever is read first.
    #[must_use]
    pub fn out_of_order(mut self, on: bool) -> Self {
        self.out_of_order = on;
        self
    }

    /// The same with no more than this many bytes a second.
    #[must_use]
    pub fn rate(mut self, per_second: ByteSize) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// The same, leaving out what is zero in the source because the target is all zeros already: it was made just now
    /// and nothing was written to it. Refused for raw LUKS, where what was never written reads as noise, and for a
    /// target that the copy makes.
    #[must_use]
    pub fn target_is_zero(mut self) -> Self {
        self.target_is_zero = true;
        self
    }

    pub(crate) fn says_target_is_zero(&self) -> bool {
        self.target_is_zero
    }

    /// The same with [`TargetCache::Fastest`] decided for the file or device at `target`, or the directory of a file that
    /// is still to be made.
    pub(crate) fn decided(mut self, target: &Path) -> Self {
        if self.cache == TargetCache::Fastest && !direct_io_pays(target) {
            self.cache = TargetCache::Unsafe;
        }
        self
    }

    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut all = vec!["-t".to_owned(), self.cache.as_str().to_owned()];
        if let Some(requests) = self.parallel {
            all.extend(["-m".to_owned(), requests.to_string()]);
        }
        if self.out_of_order {
            all.push("-W".to_owned());
        }
        if let Some(rate) = self.rate {
            all.extend(["-r".to_owned(), rate.get().to_string()]);
        }
        if self.target_is_zero {
            all.push("--target-is-zero".to_owned());
        }
        all
    }
}

/// The type of tmpfs in `statfs` (`linux/magic.h`).
const TMPFS: FsWord = 0x0102_1994;

/// The largest unit, in bytes, in which a file is written past the page cache.
const LARGEST_BLOCK: u64 = 4096;

/// Whether a file there can be opened past the page cache, and is not in memory anyway. For a path where nothing is, the
/// directory is asked.
///
/// A file whose length is no multiple of 4096 bytes is written through the page cache: past it QEMU writes whole blocks, so that the
/// file, and with it a raw disk, would become longer.
#[must_use]
pub fn direct_io_pays(path: &Path) -> bool {
    if std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() % LARGEST_BLOCK != 0) {
        return false;
    }
    let (place, flags) = if path.exists() {
        (path, OFlags::RDONLY | OFlags::NONBLOCK)
    } else {
        (
            path.parent().unwrap_or(Path::new("/")),
            OFlags::WRONLY | OFlags::TMPFILE,
        )
    };
    let in_memory = statfs(place).is_ok_and(|fs| fs.f_type == TMPFS);
    !in_memory
        && openat(
            CWD,
            place,
            flags | OFlags::DIRECT | OFlags::CLOEXEC,
            Mode::RUSR | Mode::WUSR,
        )
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_sixteen_requests() {
        let options = ConvertOptions::new().parallel(NonZeroU8::MAX);
        assert_eq!(options.arguments(), ["-t", "writeback", "-m", "16"]);
    }

    #[test]
    fn memory_is_not_written_past_the_cache() {
        for place in [
            Path::new("/dev/shm"),
            Path::new("/dev/shm/strongroom-nothing-here"),
        ] {
            assert!(!direct_io_pays(place), "{place:?}");
        }
        let decided = ConvertOptions::fast().decided(Path::new("/dev/shm/strongroom-nothing-here"));
        assert_eq!(decided.arguments(), ["-t", "unsafe", "-m", "16", "-W"]);
    }

    #[test]
    fn a_stated_cache_is_kept() {
        for (cache, word) in [(TargetCache::Direct, "none"), (TargetCache::Unsafe, "unsafe")] {
            let options = ConvertOptions::new()
                .cache(cache)
                .decided(Path::new("/dev/shm/x"));
            assert_eq!(options.arguments(), ["-t", word]);
        }
    }
}
