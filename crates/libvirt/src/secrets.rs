use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::Call;

use crate::{Connection, Document, LibvirtError, SecretName, Virsh};

/// The keys that libvirt holds for us.
///
/// QEMU gets its own copy of a key when a disk is opened, and libvirt forgets its keys when it is restarted. So a key is needed from
/// before a disk is opened (start, attach, incoming migration, snapshot, copy, backup, restore) until that has returned, and no longer:
/// [load](Connection::load_secret) it, do the one thing, [unload](Connection::unload_secret) it. What a process that died in between has left,
/// [`Connection::reconcile_secrets`] removes.
impl Connection {
    /// Gives libvirt a key, in its memory only, readable by nobody. One that it has already is given the value again, which is what is
    /// needed after a restart of libvirt or when the value is in doubt.
    ///
    /// When the value cannot be set, the definition is removed again.
    ///
    /// # Errors
    /// [`LibvirtError::AlreadyExists`] when somebody else's secret has the same UUID or the same use, [`LibvirtError::Handover`],
    /// [`LibvirtError::Unreachable`], and as [`Connection::run`].
    pub fn load_secret(&self, call: &Call, name: &SecretName, key: &Passphrase) -> Result<(), LibvirtError> {
        let definition = Document::new(&name.to_element())?;
        let key = SecretFile::new(key)?;
        self.run(call, &Virsh::new("secret-define").document("--file", &definition))?;
        let set = Virsh::new("secret-set-value")
            .option("--secret", name.uuid().to_string())
            .key("--file", &key)
            .word("--plain");
        let given = self.run(call, &set).map(drop);
        if given.is_err() {
            // The first error is the one to tell; a definition without a value opens nothing.
            let _no_value = self.unload_secret(&Call::new(), name);
        }
        given
    }

    /// Takes a key from libvirt. One that it does not have is fine.
    ///
    /// Guests that run go on: resize, snapshot merge, detach and outgoing migration need no key.
    ///
    /// # Errors
    /// As [`Connection::run`].
    pub fn unload_secret(&self, call: &Call, name: &SecretName) -> Result<(), LibvirtError> {
        let undefine = Virsh::new("secret-undefine").option("--secret", name.uuid().to_string());
        match self.run(call, &undefine) {
            Ok(_) | Err(LibvirtError::NoSecret { .. }) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// The keys that libvirt holds for us. Other people's secrets are left out.
    ///
    /// # Errors
    /// As [`Connection::run`].
    pub fn secrets(&self, call: &Call) -> Result<Vec<SecretName>, LibvirtError> {
        let list = self.run(call, &Virsh::new("secret-list"))?;
        let mut ours: Vec<SecretName> = list.lines().filter_map(listed).collect();
        ours.sort();
        Ok(ours)
    }

    /// Takes all keys of ours from libvirt but those to keep, and says which it took. Other people's secrets stay.
    ///
    /// For the start of a program that loads keys: what it loaded before it died goes.
    ///
    /// # Errors
    /// The first that [`Connection::unload_secret`] has, after it was tried for all.
    pub fn reconcile_secrets(
        &self,
        call: &Call,
        keep: &[SecretName],
    ) -> Result<Vec<SecretName>, LibvirtError> {
        let mut taken = Vec::new();
        let mut failed = None;
        for name in self.secrets(call)? {
            if keep.contains(&name) {
                continue;
            }
            match self.unload_secret(call, &name) {
                Ok(()) => taken.push(name),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(taken), Err)
    }
}

/// A line of `secret-list`: UUID, kind of use, use.
fn listed(line: &str) -> Option<SecretName> {
    let mut words = line.split_whitespace();
    let (uuid, kind, usage) = (words.next()?, words.next()?, words.next()?);
    (kind == "volume" && words.next().is_none())
        .then(|| SecretName::recognise(uuid, usage))
        .flatten()
}
