use std::fmt;

use strongroom_types::{HostId, PoolId, VolumeId};

use crate::{
    Attachment, Capabilities, CreateVolume, GrowVolume, OpContext, PoolError, PoolUsage, SnapshotVolume,
    Volume,
};

/// A pool of volumes: what a storage driver author implements.
///
/// Every method may be called from several threads, for different volumes at once and for one volume one after the other.
/// A call that fails leaves things as they were, or such that the same call again finishes it; where a method says more, that
/// holds too. A call that was interrupted by its [`Call`](strongroom_types::Call) is such a failure. Its `Call` stays over: for
/// finishing, or for the [`delete`](Self::delete) that gives up, take a fresh one. Keys are used for the length of a call and
/// reach neither an error, nor a log, nor a file.
pub trait PoolDriver: Send + Sync + fmt::Debug {
    /// Which pool this is.
    fn pool(&self) -> &PoolId;

    /// What the pool can do. The answer does not change while the driver lives.
    fn capabilities(&self) -> Capabilities;

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

    /// Removes a volume with its snapshots. One that is not there is fine.
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
    fn grow(&self, _: &OpContext<'_>, _: &GrowVolume<'_>) -> Result<Volume, PoolError> {
        Err(PoolError::unsupported(
            "grow",
            format!("pool {} does not grow volumes", self.pool()),
        ))
    }

    /// Takes, restores or removes a snapshot of a volume that nobody has open. Taking one that is there and removing one
    /// that is not change nothing. After a restore the volume has the content and the size of the time of the snapshot, and
    /// opens with its key.
    ///
    /// Requires the volume's format in [`Capabilities::snapshot_offline`].
    ///
    /// # Errors
    /// [`PoolError`]; then the volume opens with its key, and the same request again finishes it.
    fn snapshot(&self, _: &OpContext<'_>, _: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        Err(PoolError::unsupported(
            "snapshot",
            format!("pool {} keeps no snapshots", self.pool()),
        ))
    }

    /// Removes what work that never ended left behind. Required: no other call of this pool is running.
    ///
    /// # Errors
    /// [`PoolError`] when something may still be there.
    fn recover(&self, _: &OpContext<'_>) -> Result<(), PoolError> {
        Ok(())
    }
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
            fn grow(&self, cx: &OpContext<'_>, request: &GrowVolume<'_>) -> Result<Volume, PoolError> {
                (**self).grow(cx, request)
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
