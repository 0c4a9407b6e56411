//! Many operations in a row on a few volumes, at some of which something fails or the process dies. Whatever happens, recovery
//! brings everything in order.

use std::path::{Path, PathBuf};

use strongroom_control_plane::{ControlPlane, ControlPlaneError, Outcome, SourceImage};
use strongroom_endpoint_selector::ErrorKind;
use strongroom_types::{Call, DiskFormat, GuestSize, VolumeId};

use crate::fragile::Burn;
use crate::site::{Site, id, new_volume};

/// A fixed sequence for each seed, so that a failure can be run again (the constants are Knuth's for MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let end = u64::try_from(from.len()).unwrap();
        from[usize::try_from(self.below(end)).unwrap()]
    }
}

/// Does something on some volume. Refusals are part of life.
fn act(control: &ControlPlane, dice: &mut Dice) -> Result<String, ControlPlaneError> {
    let call = Call::new();
    let name = dice.pick(&["a", "b", "c"]);
    let volume: VolumeId = id(name);
    let snapshot = id(dice.pick(&["one", "two"]));
    let image = SourceImage::new(Path::new("/images/x"), DiskFormat::Raw);
    let what = dice.pick(&[
        "create", "create", "create", "grow", "take", "take", "remove", "restore", "replace", "back up",
        "verify", "delete",
    ]);
    match what {
        "create" => {
            let offering = dice.pick(&["plain", "secret", "secret-raw"]);
            drop(control.create_volume(&call, &new_volume(name, offering))?);
        }
        "grow" => {
            let to = control.volume(&volume)?.guest.get() + 512 * dice.below(9);
            drop(control.grow_volume(&call, &volume, GuestSize::new(to).unwrap())?);
        }
        "take" => drop(control.create_snapshot(&call, &volume, &snapshot)?),
        "remove" => control.delete_snapshot(&call, &volume, &snapshot)?,
        "restore" => drop(control.restore_snapshot(&call, &volume, &snapshot)?),
        "replace" => control.replace_content(&call, &volume, &image)?,
        "back up" => {
            let path = PathBuf::from(format!("/backups/{name}-{}", dice.below(3)));
            drop(control.back_up_header(&call, &volume, &path)?);
        }
        "verify" => drop(control.verify_volume(&call, &volume)?),
        _ => drop(control.delete_volume(&call, &volume)?),
    }
    Ok(what.to_owned())
}

#[test]
fn whatever_happens_recovery_brings_everything_in_order() {
    let (mut done, mut killed, mut failed) = (0, 0, 0);
    for seed in 1..=20 {
        let mut dice = Dice(seed);
        let (site, mut control) = Site::new();
        for round in 0..60 {
            let burn = dice.pick(&[
                None,
                Some(Burn::Kill),
                Some(Burn::Fail(ErrorKind::Io)),
                Some(Burn::Cut(ErrorKind::Io)),
            ]);
            if let Some(burn) = burn {
                site.fuse.light(u32::try_from(1 + dice.below(24)).unwrap(), burn);
            }
            let mut own = Dice(dice.below(u64::MAX));
            let result = site.fuse.run(&control, move |control| act(control, &mut own));
            let burnt = site.fuse.put_out();
            match result {
                None => {
                    killed += 1;
                    std::mem::forget(control);
                    control = site.start();
                }
                Some(Ok(_)) => done += 1,
                Some(Err(_)) if burnt => failed += 1,
                Some(Err(error)) => {
                    let refused = matches!(
                        error,
                        ControlPlaneError::Unknown { .. }
                            | ControlPlaneError::Taken { .. }
                            | ControlPlaneError::Unsupported { .. }
                            | ControlPlaneError::NotEncrypted { .. }
                    ) || matches!(
                        error.kind(),
                        Some(ErrorKind::Unsupported | ErrorKind::AlreadyExists)
                    );
                    assert!(refused, "seed {seed}, round {round}: {error:?}");
                }
            }
            for recovered in control.recover(&Call::new()).unwrap() {
                let settled = !matches!(recovered.outcome, Outcome::Failed(_));
                assert!(settled, "seed {seed}, round {round}: {recovered}");
            }
            site.assert_sound(&control);
        }
    }
    // The dice reach every way in which an operation ends.
    assert!(
        done > 50 && killed > 50 && failed > 50,
        "{done} done, {killed} killed, {failed} failed"
    );
}
