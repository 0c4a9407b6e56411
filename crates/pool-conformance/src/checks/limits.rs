use strongroom_storage_pool::{ErrorKind, LimitVolume, QosLimits};

use crate::check::{Check, Needs};
use crate::expect::{done, refused, same};

pub(crate) const LIMIT: Check = Check::new(
    "limits-again-are-fine",
    "The same limits again change nothing, and what is not there cannot be limited.",
    Needs::Qos,
    |bench| {
        let made = bench.make(bench.kind()?)?;
        let mut limits = QosLimits::default();
        limits.bytes_per_second = Some(100 << 20);
        limits.operations_per_second = Some(1000);
        for what in ["limit", "the same limit again"] {
            let request = LimitVolume::new(&made.id, limits);
            done(what, bench.driver.limit(&bench.cx(), &request))?;
        }
        let nothing = bench.volume()?;
        let limited = bench
            .driver
            .limit(&bench.cx(), &LimitVolume::new(&nothing, limits));
        refused(
            "limit of a volume that was never made",
            limited,
            ErrorKind::NotFound,
        )
        .map(drop)
    },
);

pub(crate) const RECOVER: Check = Check::new(
    "recover-takes-nothing-that-is-whole",
    "Removing what work that never ended left behind takes no volume.",
    Needs::Nothing,
    |bench| {
        let mut made = Vec::new();
        for kind in bench.kinds() {
            made.push(bench.make(kind)?);
        }
        done("recover", bench.driver.recover(&bench.cx()))?;
        for volume in &made {
            same(
                "the volume",
                &Some(&volume.id),
                &bench.get(&volume.id)?.as_ref().map(|v| &v.id),
            )?;
        }
        Ok(())
    },
);
