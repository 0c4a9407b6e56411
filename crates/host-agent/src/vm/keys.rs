use strongroom_endpoint_selector::{EndpointError, ErrorKind, VmDisk};
use strongroom_libvirt::SecretName;
use strongroom_secret::Passphrase;
use strongroom_types::PassphraseId;

use super::at_once::at_once;
use super::runtime::Held;
use super::session::{Session, to_its_end};

/// How the passphrase is called of a disk whose command does not say.
const UNNAMED: &str = "unnamed";

/// The secret that opens a disk, if it is encrypted.
pub(super) fn name(session: &Session<'_>, disk: &VmDisk<'_>) -> Result<Option<SecretName>, EndpointError> {
    if disk.disk.protection.key().is_none() {
        return Ok(None);
    }
    let unnamed: PassphraseId = UNNAMED
        .parse()
        .map_err(|e| session.error(ErrorKind::InvalidRequest, format!("{e}")))?;
    Ok(Some(SecretName::new(
        disk.volume,
        disk.passphrase.unwrap_or(&unnamed),
    )))
}

/// Keys that libvirt has for the length of one command. They go with this value, however the command ends.
pub(super) struct Keys<'s> {
    session: &'s Session<'s>,
    loaded: Vec<(SecretName, Held)>,
}

impl<'s> Keys<'s> {
    /// Gives libvirt the keys of these disks.
    pub(super) fn load<'d>(
        session: &'s Session<'s>,
        disks: impl IntoIterator<Item = &'d VmDisk<'d>>,
    ) -> Result<Self, EndpointError> {
        let mut keys = Self {
            session,
            loaded: Vec::new(),
        };
        let mut all: Vec<&Passphrase> = Vec::new();
        for disk in disks {
            if let (Some(name), Some(key)) = (name(session, disk)?, disk.disk.protection.key()) {
                keys.hold(name)?;
                all.push(key);
            }
        }
        let pairs: Vec<(&SecretName, &Passphrase)> =
            keys.loaded.iter().map(|(name, _)| name).zip(all).collect();
        at_once(&pairs, |(name, key)| {
            let loaded = session.libvirt.load_secret(session.call, name, key);
            loaded.map_err(|e| session.failed(e))
        })
        .into_iter()
        .collect::<Result<(), _>>()?;
        Ok(keys)
    }

    /// From here on it is undone what has been begun with this key.
    fn hold(&mut self, name: SecretName) -> Result<(), EndpointError> {
        let session = self.session;
        if self.loaded.iter().any(|(loaded, _)| *loaded == name) {
            let message = format!(
                "two disks of this command are {} under one passphrase name; each has its own",
                name.volume()
            );
            return Err(session.error(ErrorKind::InvalidRequest, message));
        }
        let held = session.runtime.hold_secret(session.operation, &name)?;
        self.loaded.push((name, held));
        Ok(())
    }

    /// Leaves them in libvirt, for a machine that is on its way here.
    pub(super) fn leave(mut self) {
        self.loaded.clear();
    }

    /// Takes them from libvirt, and says when that fails.
    pub(super) fn unload(mut self) -> Result<(), EndpointError> {
        self.take_all()
    }

    fn take_all(&mut self) -> Result<(), EndpointError> {
        let session = self.session;
        let taken = at_once(&self.loaded, |(name, _)| {
            session.libvirt.unload_secret(&to_its_end(), name)
        });
        let mut all = Ok(());
        for ((name, _held), taken) in self.loaded.drain(..).zip(taken) {
            if let Err(error) = taken {
                tracing::error!(secret = %name.uuid(), %error, "a key stays in libvirt until it is reconciled");
                all = all.and(Err(session.failed(error)));
            }
        }
        all
    }
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        // Logged where it failed.
        let _ = self.take_all();
    }
}
