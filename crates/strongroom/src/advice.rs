//! What a user of the command line can do about an error: libraries say what is wrong, and know no options.

use strongroom_control_plane::{ControlPlaneError, VmError};

/// The advice for an error, as a sentence.
pub(crate) fn on(error: &anyhow::Error) -> Option<String> {
    let known = error
        .chain()
        .find_map(|cause| cause.downcast_ref().and_then(of_control));
    known.or_else(|| {
        // Hosts and drivers of any kind say these, and their errors have no kind of its own for them.
        let said = crate::process::chain(error);
        SAID.iter()
            .find(|(words, _)| said.contains(words))
            .map(|(_, advice)| (*advice).to_owned())
    })
}

/// Words of errors, and what to do about them.
const SAID: [(&str, &str); 2] = [
    (
        "of another installation",
        "`strongroom pool add ... --take-over`, or `strongroom pool take-over` for a pool that is listed, takes it from the other \
         installation",
    ),
    (
        "not probed",
        "`strongroom host probe` finds out what this machine can do",
    ),
];

fn of_control(error: &ControlPlaneError) -> Option<String> {
    Some(match error {
        ControlPlaneError::SnapshotsInTheWay {
            volume, may_be_lost, ..
        } => {
            let lose = if *may_be_lost {
                "; --lose-snapshots loses them all"
            } else {
                ""
            };
            format!(
                "`strongroom volume show {volume}` lists them and `strongroom volume snapshot {volume} NAME --delete` removes one{lose}"
            )
        }
        ControlPlaneError::TemplateInUse { .. } => {
            "`strongroom volume flatten ID` makes a volume stand alone".to_owned()
        }
        ControlPlaneError::InUse { what: "pool", .. } => {
            "`strongroom volume move ID --to POOL` moves one".to_owned()
        }
        ControlPlaneError::NoPool { refusals } if refusals.is_empty() => {
            "`strongroom pool add NAME --directory DIRECTORY` adds one".to_owned()
        }
        ControlPlaneError::Taken { what: "offering", .. } => {
            "`strongroom offering list` names them".to_owned()
        }
        ControlPlaneError::TooLarge { .. } => "--largest SIZE sets the limit".to_owned(),
        ControlPlaneError::Claims { .. } => "--format says the format, --opaque that raw is meant".to_owned(),
        ControlPlaneError::NotDeclassified { .. } => {
            "--passphrase-file, --passphrase-fd and --ask-passphrase give one, --declassify a reason"
                .to_owned()
        }
        ControlPlaneError::Unknown {
            what: "virtual machine",
            ..
        } => "`strongroom vm list` names them".to_owned(),
        ControlPlaneError::Vm(error) => return of_vm(error),
        _ => return None,
    })
}

fn of_vm(error: &VmError) -> Option<String> {
    Some(match error {
        VmError::InUse { vm, .. } | VmError::Runs { vm, .. } | VmError::Ended { vm, .. } => {
            format!("`strongroom vm stop {vm}` stops it")
        }
        VmError::HasVolume { vm, target, .. } => {
            format!("`strongroom vm detach {vm} {target}` takes it from there")
        }
        VmError::NothingToBoot { vm } => format!("`strongroom vm attach {vm} VOLUME` gives it one"),
        VmError::Unfinished { vm, .. } | VmError::NotUndone { vm, .. } => {
            format!("`strongroom vm stop {vm} --power-off` settles it")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn names(error: impl Into<anyhow::Error>, command: &str) {
        let advice = on(&error.into()).unwrap_or_default();
        assert!(advice.contains(command), "{advice:?}");
    }

    #[test]
    fn what_a_beginner_forgets_is_named_as_a_command() {
        names(
            ControlPlaneError::NoPool { refusals: Vec::new() },
            "strongroom pool add NAME",
        );
        names(
            ControlPlaneError::Taken {
                what: "offering",
                id: "secret".to_owned(),
            },
            "strongroom offering list",
        );
        let unprobed = anyhow::anyhow!("no host will do: local lacks qcow2-luks: not probed");
        names(unprobed, "strongroom host probe");
        names(
            anyhow::anyhow!("it is that pool of another installation"),
            "strongroom pool take-over",
        );
        assert_eq!(on(&anyhow::anyhow!("it is raining")), None);
    }
}
