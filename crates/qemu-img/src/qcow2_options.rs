use crate::Refusal;
use crate::option_list::{OptionList, switch};

/// The size of a qcow2 cluster in bytes: a power of two from 512 to 2 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterSize(u32);

impl ClusterSize {
    /// QEMU's default.
    pub const DEFAULT: Self = Self(64 << 10);

    /// This many bytes.
    ///
    /// # Errors
    /// [`Refusal::Option`] for anything else than a power of two from 512 to 2 MiB.
    pub fn new(bytes: u32) -> Result<Self, Refusal> {
        if bytes.is_power_of_two() && (512..=2 << 20).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            let problem = format!("is {bytes} bytes, and must be a power of two from 512 to 2097152");
            Err(Refusal::Option {
                option: "the cluster size",
                problem,
            })
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for ClusterSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What of a new image, or of its new part, takes space at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Preallocation {
    /// Nothing.
    Off,
    /// The tables, so that writing need not make them. qcow2 only.
    Metadata,
    /// Everything, by asking the file system for it.
    Falloc,
    /// Everything, by writing zeros.
    Full,
}

impl Preallocation {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Metadata => "metadata",
            Self::Falloc => "falloc",
            Self::Full => "full",
        }
    }
}

/// How a new qcow2 image is laid out. What is not set is left to QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Qcow2Options {
    cluster_size: Option<ClusterSize>,
    lazy_refcounts: Option<bool>,
    extended_l2: Option<bool>,
    version_2: bool,
}

impl Qcow2Options {
    /// QEMU's defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with clusters of this size.
    #[must_use]
    pub fn cluster_size(mut self, size: ClusterSize) -> Self {
        self.cluster_size = Some(size);
        self
    }

    /// The same with reference counts that are written late: fewer writes, and a check after a crash.
    #[must_use]
    pub fn lazy_refcounts(mut self, on: bool) -> Self {
        self.lazy_refcounts = Some(on);
        self
    }

    /// The same with 32 subclusters in each cluster, which must then have 16 KiB or more.
    #[must_use]
    pub fn extended_l2(mut self, on: bool) -> Self {
        self.extended_l2 = Some(on);
        self
    }

    /// The same in version 2 of the format (`compat=0.10`), for readers that know no other. It has no lazy reference
    /// counts, no subclusters and no bitmaps.
    #[must_use]
    pub fn version_2(mut self) -> Self {
        self.version_2 = true;
        self
    }

    pub(crate) fn write(self, list: &mut OptionList) -> Result<(), Refusal> {
        let refuse = |option, problem: &str| {
            Err(Refusal::Option {
                option,
                problem: problem.to_owned(),
            })
        };
        let extended = self.extended_l2 == Some(true);
        if self.version_2 && (extended || self.lazy_refcounts == Some(true)) {
            return refuse(
                "version 2 of qcow2",
                "has neither lazy reference counts nor subclusters",
            );
        }
        if extended && self.cluster_size.unwrap_or_default().get() < 16 << 10 {
            return refuse("extended_l2", "needs clusters of 16384 bytes or more");
        }
        list.push("compat", if self.version_2 { "0.10" } else { "1.1" });
        if let Some(size) = self.cluster_size {
            list.push("cluster_size", size.get().to_string());
        }
        if let Some(on) = self.lazy_refcounts {
            list.push("lazy_refcounts", switch(on));
        }
        if let Some(on) = self.extended_l2 {
            list.push("extended_l2", switch(on));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(options: Qcow2Options) -> Result<String, Refusal> {
        let mut list = OptionList::default();
        options.write(&mut list)?;
        Ok(list.into_argument().into_string().unwrap())
    }

    #[test]
    fn cluster_sizes_are_powers_of_two_in_range() {
        for bytes in [512, 65536, 2 << 20] {
            assert_eq!(ClusterSize::new(bytes).unwrap().get(), bytes);
        }
        for bytes in [0, 256, 3000, 4 << 20, u32::MAX] {
            assert!(
                matches!(ClusterSize::new(bytes), Err(Refusal::Option { .. })),
                "{bytes}"
            );
        }
    }

    #[test]
    fn options_that_exclude_each_other_are_refused() {
        let small = ClusterSize::new(4096).unwrap();
        for options in [
            Qcow2Options::new().version_2().lazy_refcounts(true),
            Qcow2Options::new().version_2().extended_l2(true),
            Qcow2Options::new().cluster_size(small).extended_l2(true),
        ] {
            assert!(
                matches!(written(options), Err(Refusal::Option { .. })),
                "{options:?}"
            );
        }
        let all = Qcow2Options::new()
            .cluster_size(ClusterSize::new(16384).unwrap())
            .extended_l2(true);
        assert_eq!(
            written(all.lazy_refcounts(false)).unwrap(),
            "compat=1.1,cluster_size=16384,lazy_refcounts=off,extended_l2=on"
        );
        assert_eq!(written(Qcow2Options::new().version_2()).unwrap(), "compat=0.10");
    }
}
