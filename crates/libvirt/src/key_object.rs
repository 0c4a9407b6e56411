use serde_json::{Map, Value, json};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::Call;

use crate::{LibvirtError, Machine};

/// Keys that QEMU is given past libvirt.
///
/// The key is in an anonymous file whose descriptor virsh and libvirt hand on to QEMU, which reads it as one of its own: it is in no
/// argument, log or file system. This works where the daemon is reached by a unix socket.
impl Machine<'_> {
    /// Makes a secret object of QEMU that holds this key. One of this name is replaced.
    pub(crate) fn give_key(&self, call: &Call, id: &str, key: &Passphrase) -> Result<(), LibvirtError> {
        self.take_key(call, id)?;
        let (set, number) = self.lend(call, key)?;
        let object = object(json!({
            "qom-type": "secret",
            "id": id,
            "file": format!("/proc/self/fd/{number}"),
        }));
        let given = self.monitor(call, "object-add", object);
        let lent = self.monitor(call, "remove-fd", object_of("fdset-id", set.into()));
        given.and(lent).map(drop)
    }

    /// Removes a secret object of QEMU. One that is not there is fine.
    pub(crate) fn take_key(&self, call: &Call, id: &str) -> Result<(), LibvirtError> {
        if self.objects(call)?.iter().any(|known| known == id) {
            self.delete_object(call, id)?;
        }
        Ok(())
    }

    /// Hands QEMU the descriptor of a key: the number of the set that it is in, and its own.
    fn lend(&self, call: &Call, key: &Passphrase) -> Result<(u64, u64), LibvirtError> {
        const COMMAND: &str = "add-fd";
        let file = SecretFile::new(key)?;
        let send = self
            .command("qemu-monitor-command")
            .key_number("--pass-fds", &file)
            .option("--cmd", json!({ "execute": COMMAND }).to_string());
        let answer = self.answer(call, COMMAND, &send)?;
        let number = |name: &str| {
            let number = answer.get(name).and_then(Value::as_u64);
            number.ok_or_else(|| send.unreadable(format!("it has no {name}")))
        };
        Ok((number("fdset-id")?, number("fd")?))
    }
}

/// The members of an object that is written down.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

pub(crate) fn object_of(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}
