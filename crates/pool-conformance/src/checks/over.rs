use std::time::Duration;

use strongroom_storage_pool::{
    CloneKey, CloneVolume, CreateVolume, ErrorKind, LimitVolume, QosLimits, ResizeVolume, SnapshotAction,
    SnapshotVolume, Volume, VolumeContent,
};
use strongroom_types::Call;

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::expect::{refused, same};
use crate::failure::Checked;

pub(crate) const NOTHING: Check = Check::new(
    "a-call-that-is-over-does-nothing",
    "A change whose call is over before it begins, by its deadline or because it was cancelled, fails as that and changes nothing.",
    Needs::Nothing,
    |bench| {
        let kind = bench.kind()?;
        let made = bench.make(kind)?;
        let cancelled = Call::new();
        cancelled.cancellation().cancel();
        let late = Call::new().with_timeout(Duration::ZERO);
        for (call, why) in [(cancelled, ErrorKind::Cancelled), (late, ErrorKind::Deadline)] {
            does_nothing(bench, kind, &made, &call, why)?;
        }
        Ok(())
    },
);

fn does_nothing(bench: &Bench, kind: Kind, made: &Volume, call: &Call, why: ErrorKind) -> Checked {
    let (cx, driver, can) = (bench.cx_of(call), &bench.driver, &bench.capabilities);
    let (key, id) = (bench.key(kind, 0), bench.volume()?);
    let request = CreateVolume::new(&id, made.guest, kind.format, key, VolumeContent::Blank);
    refused("create by a call that is over", driver.create(&cx, &request), why)?;
    same("the volume", &None, &bench.get(&id)?)?;
    refused("delete by a call that is over", driver.delete(&cx, &made.id), why)?;
    same("the volume", &made.guest, &bench.there(&made.id)?.guest)?;
    if can.grow {
        let request = ResizeVolume::new(&made.id, bench.larger(1)?, key);
        refused("grow by a call that is over", driver.grow(&cx, &request), why)?;
    }
    if can.shrink {
        let request = ResizeVolume::new(&made.id, bench.bytes(bench.site.size)?, key);
        refused("shrink by a call that is over", driver.shrink(&cx, &request), why)?;
    }
    same("the size", &made.guest, &bench.there(&made.id)?.guest)?;
    if can.snapshot_offline.contains(&kind.format) {
        let snapshot = bench.snapshot("s")?;
        let request = SnapshotVolume::new(&made.id, &snapshot, SnapshotAction::Create, key);
        refused(
            "snapshot by a call that is over",
            driver.snapshot(&cx, &request),
            why,
        )?;
        same("the snapshots", &Vec::new(), &bench.there(&made.id)?.snapshots)?;
    }
    if Needs::CloneOwnKey.met_by(can) {
        let request = CloneVolume::new(&made.id, key, &id, CloneKey::Own(bench.key(kind, 1)));
        let cloned = driver.clone_volume(&cx, &request);
        refused("clone_volume by a call that is over", cloned, why)?;
        same("the clone", &None, &bench.get(&id)?)?;
    }
    if can.qos {
        let request = LimitVolume::new(&made.id, QosLimits::default());
        refused("limit by a call that is over", driver.limit(&cx, &request), why)?;
    }
    Ok(())
}
