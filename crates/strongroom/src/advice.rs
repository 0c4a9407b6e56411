//! What a user of the command line can do about an error: libraries say what is wrong, and know no options.

use strongroom_control_plane::ControlPlaneError;

/// The advice for an error, as a sentence.
pub(crate) fn on(error: &anyhow::Error) -> Option<String> {
    let known = error
        .chain()
        .find_map(|cause| cause.downcast_ref().and_then(of_control));
    known.or_else(|| {
        // Hosts and drivers of any kind say this, and their errors have no kind of its own for it.
        crate::process::chain(error)
            .contains("of another installation")
            .then(|| {
                "`strongroom pool add ... --take-over`, or `strongroom pool take-over` for a pool that is listed, takes it from the \
                 other installation"
                    .to_owned()
            })
    })
}

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
        ControlPlaneError::TooLarge { .. } => "--largest SIZE sets the limit".to_owned(),
        ControlPlaneError::Claims { .. } => "--format says the format, --opaque that raw is meant".to_owned(),
        ControlPlaneError::NotDeclassified { .. } => {
            "--passphrase-file, --passphrase-fd and --ask-passphrase give one, --declassify a reason"
                .to_owned()
        }
        _ => return None,
    })
}
