use serde_json::{Map, Value, json};
use strongroom_secret::{Origin, Passphrase};
use strongroom_types::{Call, DiskFormat, DiskTarget};

use crate::disk_job::{abandoning, failed};
use crate::key_object::{object, object_of};
use crate::{LibvirtError, LiveDisk, Machine, Refusal, Source};

const WORK: &str = "change of keyslots";

/// The names that QEMU has for what is there only during a change.
const JOB: &str = "strongroom-keyslots";
const NEW_KEY: &str = "strongroom-keyslots-new";
const OLD_KEY: &str = "strongroom-keyslots-old";
const PROBE: &str = "strongroom-keyslots-probe";

/// Milliseconds for the derivation of a key that stretching adds nothing to. QEMU measures the processor for about a second anyway.
const FAST: u32 = 10;

/// Passphrases that change while the guest runs.
impl Machine<'_> {
    /// Gives an encrypted qcow2 disk another passphrase: into a free keyslot, proved to open the header on the storage, and only then the
    /// old one goes. The guest's disk stands still for about a second, and for three with a passphrase that somebody thought of.
    ///
    /// Killed at any instant, at least one of the two opens the disk, and the same call again does the rest: a disk that the new one opens
    /// and the old one does not is done. The volume key stays, so that a copy of the old header still opens with the old passphrase; for
    /// another volume key [copy](Self::start_copy) the disk. Secrets in libvirt are the caller's to load anew.
    ///
    /// A change that was begun is seen to its end, whatever the call's deadline.
    ///
    /// # Errors
    /// [`Refusal::RawKeyslots`] for raw LUKS, which says what is safe. [`Refusal::NotEncrypted`], [`LibvirtError::WrongKey`] when neither
    /// opens the disk, [`LibvirtError::Busy`], [`LibvirtError::JobFailed`], for instance when no keyslot is free, and as
    /// [`Connection::run`](crate::Connection::run).
    pub fn change_key(
        &self,
        call: &Call,
        target: &DiskTarget,
        from: &Passphrase,
        to: &Passphrase,
    ) -> Result<(), LibvirtError> {
        let disk = self.idle_disk(call, WORK, target)?;
        if disk.image.encryption.is_none() {
            return Err(Refusal::NotEncrypted(target.clone()).into());
        }
        if disk.image.format != DiskFormat::Qcow2.as_str() {
            return Err(Refusal::RawKeyslots(target.clone()).into());
        }
        call.check()
            .map_err(|source| LibvirtError::Interrupted { action: WORK, source })?;
        let call = abandoning();
        self.clear(&call)?;
        let changed = self.change(&call, &disk, from, to);
        changed.and(self.clear(&call))
    }

    fn change(
        &self,
        call: &Call,
        disk: &LiveDisk,
        from: &Passphrase,
        to: &Passphrase,
    ) -> Result<(), LibvirtError> {
        let node = disk.image.format_node().unwrap_or_default();
        let own = format!("{node}-encryption-secret0");
        self.give_key(call, NEW_KEY, to)?;
        self.give_key(call, OLD_KEY, from)?;
        let old_opens = self.opens(call, disk, OLD_KEY)?;
        let mut slots = self.slots(call, &node)?;
        if !self.opens(call, disk, NEW_KEY)? {
            if !old_opens {
                return Err(LibvirtError::WrongKey {
                    action: WORK,
                    message: format!("neither passphrase opens disk {}", disk.target),
                });
            }
            // QEMU takes the volume key from the disk's own secret, which may be one before the old.
            self.give_key(call, &own, from)?;
            let mut add = json!({ "format": "luks", "state": "active", "new-secret": NEW_KEY });
            if to.origin() == Origin::Generated {
                add["iter-time"] = FAST.into();
            }
            self.amend(call, disk, &node, add)?;
            if !self.opens(call, disk, NEW_KEY)? {
                return Err(failed(
                    WORK,
                    &disk.target,
                    "the new passphrase does not open the disk; the old one stays",
                ));
            }
        } else if old_opens {
            // Whoever began did not come to the end, and it is not known which slot is which.
            slots.clear();
        }
        self.give_key(call, &own, to)?;
        if old_opens {
            let erase = match slots.as_slice() {
                // By its number: QEMU would otherwise try the passphrase on every slot, and the guest waits.
                [only] => json!({ "format": "luks", "state": "inactive", "keyslot": only }),
                _ => json!({ "format": "luks", "state": "inactive", "old-secret": OLD_KEY }),
            };
            self.amend(call, disk, &node, erase)?;
            if self.opens(call, disk, OLD_KEY)? {
                return Err(failed(
                    WORK,
                    &disk.target,
                    "the old passphrase still opens the disk",
                ));
            }
        }
        Ok(())
    }

    /// Whether the key of this object opens the header that is on the storage now. QEMU opens the image once more for that, for reading and
    /// without locks, and only to close it again.
    fn opens(&self, call: &Call, disk: &LiveDisk, key: &str) -> Result<bool, LibvirtError> {
        let (driver, path) = match &disk.image.source {
            Some(Source::File(path)) => ("file", path),
            Some(Source::Block(path)) => ("host_device", path),
            None => {
                return Err(failed(
                    WORK,
                    &disk.target,
                    "it is neither in a file nor on a block device",
                ));
            }
        };
        let path = crate::image::path(path)?;
        let probe = object(json!({
            "driver": "qcow2",
            "node-name": PROBE,
            "read-only": true,
            "backing": null,
            "encrypt": { "format": "luks", "key-secret": key },
            "file": { "driver": driver, "filename": path, "read-only": true, "locking": "off" },
        }));
        match self.monitor(call, "blockdev-add", probe) {
            Ok(_) => self.delete_node(call, PROBE).map(|()| true),
            Err(LibvirtError::Monitor { message, .. }) if message.ends_with("cannot unlock any keyslot") => {
                Ok(false)
            }
            Err(other) => Err(other),
        }
    }

    /// The numbers of the keyslots that are in use.
    fn slots(&self, call: &Call, node: &str) -> Result<Vec<usize>, LibvirtError> {
        let nodes = self.monitor(call, "query-named-block-nodes", object_of("flat", true.into()))?;
        let all = nodes.as_array().into_iter().flatten();
        let slots = all
            .filter(|known| known.get("node-name").and_then(Value::as_str) == Some(node))
            .filter_map(|known| known.pointer("/image/format-specific/data/encrypt/slots"))
            .filter_map(Value::as_array)
            .flatten();
        Ok(slots
            .enumerate()
            .filter(|(_, slot)| slot.get("active").and_then(Value::as_bool) == Some(true))
            .map(|(number, _)| number)
            .collect())
    }

    /// Changes keyslots, and looks at what the job says of itself: QEMU reports that it was begun, and nothing more.
    fn amend(&self, call: &Call, disk: &LiveDisk, node: &str, encrypt: Value) -> Result<(), LibvirtError> {
        let change = object(json!({
            "job-id": JOB,
            "node-name": node,
            "options": { "driver": "qcow2", "encrypt": encrypt },
        }));
        self.monitor(call, "x-blockdev-amend", change)?;
        let error = loop {
            if let Some(job) = self.job(call)?
                && job.get("status").and_then(Value::as_str) == Some("concluded")
            {
                break job.get("error").and_then(Value::as_str).map(str::to_owned);
            }
            self.pause(call, WORK)?;
        };
        self.monitor(call, "job-dismiss", object_of("id", JOB.into()))?;
        error.map_or(Ok(()), |message| Err(failed(WORK, &disk.target, message)))
    }

    fn job(&self, call: &Call) -> Result<Option<Value>, LibvirtError> {
        let jobs = self.monitor(call, "query-jobs", Map::new())?;
        let mut all = jobs.as_array().into_iter().flatten();
        Ok(all
            .find(|job| job.get("id").and_then(Value::as_str) == Some(JOB))
            .cloned())
    }

    /// Removes what is there only during a change, also that of a process that died in one.
    fn clear(&self, call: &Call) -> Result<(), LibvirtError> {
        while let Some(job) = self.job(call)? {
            if job.get("status").and_then(Value::as_str) == Some("concluded") {
                self.monitor(call, "job-dismiss", object_of("id", JOB.into()))?;
            } else {
                self.pause(call, WORK)?;
            }
        }
        if self.block_nodes(call)?.iter().any(|node| node.name == PROBE) {
            self.delete_node(call, PROBE)?;
        }
        self.take_key(call, NEW_KEY)?;
        self.take_key(call, OLD_KEY)
    }
}
