use serde_json::{Map, Value};
use strongroom_types::Call;

use crate::{LibvirtError, Machine, Refusal, Virsh};

/// What is never sent, with what to do instead.
const REFUSED: &[(&str, &str)] = &[
    (
        "quit",
        "it ends the guest behind libvirt's back; destroy the machine",
    ),
    (
        "migrate",
        "it sends the guest's memory in clear behind libvirt's back",
    ),
    (
        "human-monitor-command",
        "its answers are text for people, and one of its commands makes QEMU 10.0 abort on an encrypted qcow2",
    ),
];

/// A block node of QEMU, as `query-named-block-nodes` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockNode {
    /// Its name.
    pub name: String,
    /// The driver: `qcow2`, `luks`, `raw`, `file`, `host_device`.
    pub driver: String,
    /// The file or device, as QEMU names it.
    pub file: String,
    /// Whether what is read here was decrypted here.
    pub encrypted: bool,
    /// What the layer above sees, in bytes.
    pub virtual_size: u64,
    /// Whether it is opened for reading only.
    pub read_only: bool,
}

/// A job on a disk, as `query-block-jobs` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockJob {
    /// Its name.
    pub id: String,
    /// What for: `mirror`, `backup`, `commit`, `stream`.
    pub kind: String,
    /// How it is: `running`, `ready`, `concluded` and others.
    pub status: String,
    /// How much is done, of [`length`](Self::length).
    pub done: u64,
    /// How much there is to do, which may grow.
    pub length: u64,
    /// Whether all is copied and every write goes to both sides.
    pub ready: bool,
    /// What went wrong.
    pub error: Option<String>,
}

/// What QEMU itself says, past libvirt, which marks the machine as tainted for that.
impl Machine<'_> {
    /// Sends a command of QEMU's monitor protocol and says what it returned. The command is an argument of virsh, and in libvirt's log:
    /// **nothing in it may be a key.**
    ///
    /// # Errors
    /// [`LibvirtError::Refused`] for commands that carry a key or end the guest, [`LibvirtError::Monitor`] when QEMU refuses,
    /// [`LibvirtError::NoDomain`], [`LibvirtError::Output`], and as [`Connection::run`](crate::Connection::run).
    pub fn monitor(
        &self,
        call: &Call,
        command: &str,
        arguments: Map<String, Value>,
    ) -> Result<Value, LibvirtError> {
        refuse(command, &arguments)?;
        let mut request = Map::new();
        request.insert("execute".into(), command.into());
        if !arguments.is_empty() {
            request.insert("arguments".into(), arguments.into());
        }
        let send = self
            .command("qemu-monitor-command")
            .option("--cmd", Value::Object(request).to_string());
        self.answer(call, command, &send)
    }

    /// What QEMU returned.
    pub(crate) fn answer(&self, call: &Call, command: &str, send: &Virsh<'_>) -> Result<Value, LibvirtError> {
        let printed = self.connection.run(call, send)?;
        let mut answer: Value =
            serde_json::from_str(&printed).map_err(|error| send.unreadable(error.to_string()))?;
        if let Some(error) = answer.get("error") {
            let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
            return Err(LibvirtError::Monitor {
                command: command.to_owned(),
                class: text("class").to_owned(),
                message: text("desc")
                    .chars()
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .take(1000)
                    .collect(),
            });
        }
        answer
            .get_mut("return")
            .map(Value::take)
            .ok_or_else(|| send.unreadable("it has neither a return nor an error"))
    }

    /// All block nodes that have a name.
    ///
    /// # Errors
    /// As [`monitor`](Self::monitor).
    pub fn block_nodes(&self, call: &Call) -> Result<Vec<BlockNode>, LibvirtError> {
        let mut flat = Map::new();
        flat.insert("flat".into(), true.into());
        let nodes = self.monitor(call, "query-named-block-nodes", flat)?;
        Ok(list(&nodes).map(node).collect())
    }

    /// The jobs on its disks.
    ///
    /// # Errors
    /// As [`monitor`](Self::monitor).
    pub fn block_jobs(&self, call: &Call) -> Result<Vec<BlockJob>, LibvirtError> {
        let jobs = self.monitor(call, "query-block-jobs", Map::new())?;
        Ok(list(&jobs).map(job).collect())
    }

    /// The names of QEMU's objects, secrets of disks among them: `libvirt-N-format-encryption-secret0`.
    ///
    /// # Errors
    /// As [`monitor`](Self::monitor).
    pub fn objects(&self, call: &Call) -> Result<Vec<String>, LibvirtError> {
        let path = named("path", "/objects");
        let objects = self.monitor(call, "qom-list", path)?;
        Ok(list(&objects)
            .filter(|object| text(object, "type").starts_with("child<"))
            .map(|object| text(object, "name"))
            .collect())
    }

    /// Closes a block node that nothing uses. What libvirt 11.3 leaves behind of a snapshot or backup that failed for its key is removed so.
    ///
    /// # Errors
    /// As [`monitor`](Self::monitor).
    pub fn delete_node(&self, call: &Call, name: &str) -> Result<(), LibvirtError> {
        self.monitor(call, "blockdev-del", named("node-name", name))
            .map(drop)
    }

    /// Removes an object that nothing uses.
    ///
    /// # Errors
    /// As [`monitor`](Self::monitor).
    pub fn delete_object(&self, call: &Call, name: &str) -> Result<(), LibvirtError> {
        self.monitor(call, "object-del", named("id", name)).map(drop)
    }
}

fn refuse(command: &str, arguments: &Map<String, Value>) -> Result<(), Refusal> {
    if let Some((_, reason)) = REFUSED.iter().find(|(name, _)| *name == command) {
        return Err(Refusal::Monitor(command.to_owned(), reason));
    }
    if arguments.contains_key("data") && command == "object-add" {
        return Err(Refusal::Monitor(
            command.to_owned(),
            "a secret would be an argument; hand it over as a file",
        ));
    }
    Ok(())
}

fn named(name: &str, value: &str) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), Value::from(value))])
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value, name: &str) -> String {
    value
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn node(value: &Value) -> BlockNode {
    let truth = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or_default();
    let image = value.get("image");
    BlockNode {
        name: text(value, "node-name"),
        driver: text(value, "drv"),
        file: text(value, "file"),
        encrypted: truth("encrypted"),
        virtual_size: image
            .and_then(|i| i.get("virtual-size"))
            .and_then(Value::as_u64)
            .unwrap_or_default(),
        read_only: truth("ro"),
    }
}

fn job(value: &Value) -> BlockJob {
    let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    BlockJob {
        id: text(value, "device"),
        kind: text(value, "type"),
        status: text(value, "status"),
        done: number("offset"),
        length: number("len"),
        ready: value.get("ready").and_then(Value::as_bool).unwrap_or_default(),
        error: value.get("error").and_then(Value::as_str).map(str::to_owned),
    }
}
