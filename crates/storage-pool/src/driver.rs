use std::fmt;

use strongroom_types::{HostId, PoolId, TemplateId, VolumeId};

use crate::{
    Attachment, Capabilities, CloneVolume, CreateVolume, FlattenVolume, LimitVolume, OpContext, PoolError,
    PoolUsage, ResizeVolume, SnapshotGroup, SnapshotVolume, Volume,
};

/// A pool of volumes: what a storage driver author implements.
///
/// Every method may be called from several threads, for different volumes at once and for one volume one after the other.
/// A call that fails leaves things as they were, or such that the same call again finishes it; where a method says more, that
/// holds too. A call that was interrupted by its [`Call`](strongroom_types::Call) is such a failure; where that was over before, by its
/// deadline or because it was cancelled, a change fails as that and changes nothing. Its `Call` stays over: for
/// finishing, or for the [`delete`](Self::delete) that gives up, take a fresh one. Keys are used for the length of a call and
/// reach neither an error, nor a log, nor a file.
pub trait PoolDriver: Send + Sync + fmt::Debug {
    /// Which pool this is.
    fn pool(&self) -> &PoolId;

    /// What the pool can do. The answer does not change while the driver lives.
    fn capabilities(&self) -> Capabilities;

    /// Makes the storage ready for being this pool, before its first use; again is fine.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when the storage is another pool's; other [`PoolError`]s when it is not what
    /// the driver was told to expect.
    fn prepare(&self, _: &OpContext<'_>) -> Result<(), PoolError> {
        Ok(())
    }

    /// How full the pool is.
    ///
    /// # Errors
    /// [`PoolError`] when the storage is not there or not what it was.
    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError>;

    /// Makes a volume. The guest sees exactly the size that was asked for.
    ///
    /// An encrypted volume is refused when [`Capabilities::encryption`] says unsupported; it is never made plain. When the
    /// call returns, an encrypted volume has been opened with its key. The same request again returns the same volume; a
    /// request for the same id with another size, format or side of the cipher is
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) and changes nothing, and so is one with a key that does not open
    /// the volume, as [`WrongKey`](crate::ErrorKind::WrongKey).
    ///
    /// Content is not compared: the same request with another [`content`](CreateVolume::content) returns the volume that is there,
    /// with what it has, because a guest may have written to it since. Who wants the content of another template deletes the volume
    /// and makes it again. A driver may answer [`Busy`](crate::ErrorKind::Busy) while somebody has the volume open.
    ///
    /// # Errors
    /// [`PoolError`]; then a volume that was there before is unchanged. One that was not is not there, or it was begun: until this
    /// call again finishes it or [`delete`](Self::delete) removes it, [`get`](Self::get) says that it is not there, or fails. When
    /// only the answer was lost, the volume is there, and this call again returns it.
    fn create(&self, cx: &OpContext<'_>, request: &CreateVolume<'_>) -> Result<Volume, PoolError>;

    /// Removes a volume with its snapshots; afterwards nothing of them is in the storage. One that is not there is fine.
    ///
    /// # Errors
    /// [`PoolError`] when it may still be there.
    fn delete(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<(), PoolError>;

    /// What the pool knows of a volume; `None` when it is not there.
    ///
    /// # Errors
    /// [`PoolError`] when it cannot be known, or when what is there is damaged.
    fn get(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<Option<Volume>, PoolError>;

    /// Makes a volume available on a host and says where. Attaching it again to the same host gives the same answer.
    ///
    /// # Errors
    /// [`PoolError`] when there is no such volume or the host cannot reach it.
    fn attach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<Attachment, PoolError>;

    /// Ends what [`attach`](Self::attach) began. A volume that is not attached, or not there, is fine.
    ///
    /// # Errors
    /// [`PoolError`] when it may still be attached.
    fn detach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<(), PoolError>;

    /// Makes a volume larger: the guest then sees exactly the size that was asked for. Growing to the size it has changes
    /// nothing; a smaller size is [`InvalidRequest`](crate::ErrorKind::InvalidRequest).
    ///
    /// Requires [`Capabilities::grow`].
    ///
    /// # Errors
    /// [`PoolError`]; then the volume opens with its key and has the old size or the new one.
    fn grow(&self, _: &OpContext<'_>, _: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        Err(unsupported("grow", self.pool(), "does not grow volumes"))
    }

    /// Makes a volume smaller: the guest then sees exactly the size that was asked for, and what was behind it is lost. Shrinking to the
    /// size that it has changes nothing; a larger size is [`InvalidRequest`](crate::ErrorKind::InvalidRequest).
    ///
    /// Requires [`Capabilities::shrink`], and that nobody has the volume open.
    ///
    /// # Errors
    /// [`PoolError`]; then the volume opens with its key and has the old size or the new one.
    fn shrink(&self, _: &OpContext<'_>, _: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        Err(unsupported("shrink", self.pool(), "does not shrink volumes"))
    }

    /// Takes, restores or removes a snapshot of a volume. Taking one that is there and removing one that is not change nothing.
    /// After a restore the volume has the content and the size of the time of the snapshot, is on the same side of the cipher, and
    /// opens with its key. A snapshot that is not there is [`NotFound`](crate::ErrorKind::NotFound) to a restore. It is of its volume
    /// only, whatever others have under the same name, and stays until it or the volume is removed. A key that does not open the
    /// volume is [`WrongKey`](crate::ErrorKind::WrongKey) for each of the three and changes nothing.
    ///
    /// Requires the volume's format in [`Capabilities::snapshot_offline`] while nobody has the volume open, in
    /// [`Capabilities::snapshot_online`] while somebody has, and [`Capabilities::revert`] for a restore.
    ///
    /// # Errors
    /// [`PoolError`]; then the volume opens with its key, and the same request again finishes it.
    fn snapshot(&self, _: &OpContext<'_>, _: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        Err(unsupported("snapshot", self.pool(), "keeps no snapshots"))
    }

    /// Takes a snapshot of several volumes, all of the same instant: what is in one is in all that was written before it. Volumes that have
    /// a snapshot of this name already are [`AlreadyExists`](crate::ErrorKind::AlreadyExists) unless all of them have it, which
    /// changes nothing. The answer is in the order of the request.
    ///
    /// Requires [`Capabilities::snapshot_group`].
    ///
    /// # Errors
    /// [`PoolError`]; then none of them has the snapshot, or the same request again finishes it.
    fn snapshot_group(&self, _: &OpContext<'_>, _: &SnapshotGroup<'_>) -> Result<Vec<Volume>, PoolError> {
        Err(unsupported(
            "snapshot_group",
            self.pool(),
            "keeps no snapshots of several volumes at one instant",
        ))
    }

    /// Makes a new volume with the content, the size and the format of another of this pool. For what exists already under its id, and
    /// after a failure, what [`create`](Self::create) says holds. The source is not changed.
    ///
    /// Requires the kind in [`Capabilities::clone`]. A clone with [`CloneKey::Own`](crate::CloneKey::Own) opens with that key and not
    /// with the source's, not even with the source's header put in front of it.
    ///
    /// # Errors
    /// [`PoolError`]; [`NotFound`](crate::ErrorKind::NotFound) when there is no source, [`WrongKey`](crate::ErrorKind::WrongKey) when
    /// the key does not open it; then there is no clone that was not there before.
    fn clone_volume(&self, _: &OpContext<'_>, _: &CloneVolume<'_>) -> Result<Volume, PoolError> {
        Err(unsupported("clone_volume", self.pool(), "does not clone volumes"))
    }

    /// Copies into a volume all that it still reads from its template, through its cipher: afterwards it depends on no template, and its
    /// content is what it was. A volume that stands alone is fine.
    ///
    /// Requires the volume's format in [`Capabilities::overlays`], and that nobody has it open.
    ///
    /// # Errors
    /// [`PoolError`]; then the volume opens with its key, has its content, and the same call again finishes it.
    fn flatten(&self, _: &OpContext<'_>, _: &FlattenVolume<'_>) -> Result<Volume, PoolError> {
        Err(unsupported(
            "flatten",
            self.pool(),
            "makes no overlays, so there are none to flatten",
        ))
    }

    /// Limits how fast a volume may be. The same limits again change nothing.
    ///
    /// Requires [`Capabilities::qos`].
    ///
    /// # Errors
    /// [`PoolError`]; then the old limits hold, or the new ones.
    fn limit(&self, _: &OpContext<'_>, _: &LimitVolume<'_>) -> Result<(), PoolError> {
        Err(unsupported("limit", self.pool(), "does not limit volumes"))
    }

    /// Removes what the pool keeps of a template. One that it keeps nothing of is fine.
    ///
    /// # Errors
    /// [`Busy`](crate::ErrorKind::Busy) while a volume still reads from it; other [`PoolError`]s when something may still be there.
    fn forget_template(&self, _: &OpContext<'_>, _: &TemplateId) -> Result<(), PoolError> {
        Ok(())
    }

    /// Removes what work that never ended left behind. Required: no other call of this pool is running.
    ///
    /// # Errors
    /// [`PoolError`] when something may still be there.
    fn recover(&self, _: &OpContext<'_>) -> Result<(), PoolError> {
        Ok(())
    }
}

fn unsupported(operation: &'static str, pool: &PoolId, what: &str) -> PoolError {
    PoolError::unsupported(operation, format!("pool {pool} {what}"))
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<D: PoolDriver + ?Sized> PoolDriver for $pointer {
            fn pool(&self) -> &PoolId {
                (**self).pool()
            }
            fn capabilities(&self) -> Capabilities {
                (**self).capabilities()
            }
            fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
                (**self).usage(cx)
            }
            fn create(&self, cx: &OpContext<'_>, request: &CreateVolume<'_>) -> Result<Volume, PoolError> {
                (**self).create(cx, request)
            }
            fn delete(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<(), PoolError> {
                (**self).delete(cx, volume)
            }
            fn get(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<Option<Volume>, PoolError> {
                (**self).get(cx, volume)
            }
            fn attach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<Attachment, PoolError> {
                (**self).attach(cx, volume, host)
            }
            fn detach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
                (**self).detach(cx, volume, host)
            }
            fn prepare(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
                (**self).prepare(cx)
            }
            fn grow(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
                (**self).grow(cx, request)
            }
            fn shrink(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
                (**self).shrink(cx, request)
            }
            fn snapshot_group(&self, cx: &OpContext<'_>, request: &SnapshotGroup<'_>) -> Result<Vec<Volume>, PoolError> {
                (**self).snapshot_group(cx, request)
            }
            fn clone_volume(&self, cx: &OpContext<'_>, request: &CloneVolume<'_>) -> Result<Volume, PoolError> {
                (**self).clone_volume(cx, request)
            }
            fn flatten(&self, cx: &OpContext<'_>, request: &FlattenVolume<'_>) -> Result<Volume, PoolError> {
                (**self).flatten(cx, request)
            }
            fn limit(&self, cx: &OpContext<'_>, request: &LimitVolume<'_>) -> Result<(), PoolError> {
                (**self).limit(cx, request)
            }
            fn forget_template(&self, cx: &OpContext<'_>, template: &TemplateId) -> Result<(), PoolError> {
                (**self).forget_template(cx, template)
            }
            fn snapshot(&self, cx: &OpContext<'_>, request: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
                (**self).snapshot(cx, request)
            }
            fn recover(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
                (**self).recover(cx)
            }
        }
    )+};
}
forward!(&D, Box<D>, std::sync::Arc<D>);
