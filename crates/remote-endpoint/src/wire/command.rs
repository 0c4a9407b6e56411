use serde::{Deserialize, Serialize};
use strongroom_endpoint_selector as host;
use strongroom_endpoint_selector::{HostCommand, VmCommand};
use strongroom_types::{
    CheckpointId, DeviceSize, DiskFormat, DiskTarget, EncryptionFormat, GuestSize, InstallationId,
    PassphraseId, PoolId, SnapshotId, VmId, VolumeId,
};

use super::disk::{WireContent, WireContentSource, WireDisk, WireProtection, WireSource};
use super::key::Key;
use super::lend::{Location, WireDigest, WireMigratedStorage, WirePath, WireSnapshotAction, WireStopVmHow};
use super::vm::{WireDestination, WireVm, WireVmBackup, WireVmDisk};
use super::{Lend, Mirror};

macro_rules! commands {
    ($($outer:ident :: $name:ident { $($field:ident: $type:ty),+ $(; $($more:ident: $more_type:ty),+)? })+) => {
        /// A command on the wire. New ones go to the end: the place in this list is the number on the wire.
        #[derive(Debug, Serialize, Deserialize)]
        pub(crate) enum WireCommand<'a> {
            $($name { $($field: $type,)+ $($($more: $more_type,)+)? }),+
        }

        impl<'a> WireCommand<'a> {
            /// The name of every command that this version knows.
            pub(crate) const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];

            /// The name of this one.
            pub(crate) fn name(&self) -> &'static str {
                match self { $(Self::$name { .. } => stringify!($name)),+ }
            }

            /// Lends the command to whoever runs it.
            pub(crate) fn with<R>(&self, run: impl FnOnce(&HostCommand<'_>) -> R) -> R {
                match self {
                    $(Self::$name { $($field,)+ $($($more,)+)? } => {
                        $(let $field = <$type as Lend>::hold($field);)+
                        $($(let $more = <$more_type as Lend>::hold($more);)+)?
                        let command = host::$name::new($(<$type as Lend>::lend(&$field)),+)
                            $($(.$more(<$more_type as Lend>::lend(&$more)))+)?;
                        run(&command.into())
                    })+
                }
            }

            /// The mirror of a command; `None` for one that this version does not know.
            pub(crate) fn of(command: &HostCommand<'a>) -> Option<Self> {
                Some(match command {
                    $(commands!(@pattern $outer $name c) => Self::$name {
                        $($field: c.$field.mirror()?,)+
                        $($($more: c.$more.mirror()?,)+)?
                    },)+
                    _ => return None,
                })
            }
        }
    };
    (@pattern disk $name:ident $c:ident) => { HostCommand::$name($c) };
    (@pattern vm $name:ident $c:ident) => { HostCommand::Vm(VmCommand::$name($c)) };
}

commands! {
    disk::OpenDirectory { path: WirePath }
    disk::MarkDirectory { path: WirePath, pool: PoolId; owner: Option<InstallationId>, take_over: bool }
    disk::MakeDirectory { path: WirePath }
    disk::ListDirectory { path: WirePath }
    disk::IdentifyDevice { path: WirePath }
    disk::RescanDevice { path: WirePath }
    disk::CreateDisk {
        path: WirePath, format: DiskFormat, guest: GuestSize, protection: WireProtection<'a>, content: WireContent<'a>;
        digest: Option<WireDigest>
    }
    disk::FormatDevice { volume: VolumeId, location: Location, format: EncryptionFormat, key: Key<'a> }
    disk::FormatQcow2 { volume: VolumeId, location: Location, guest: GuestSize, protection: WireProtection<'a>; base: Option<WireSource> }
    disk::ProveBlank { location: Location; from: Option<DeviceSize> }
    disk::BlankDevice { location: Location; from: Option<DeviceSize> }
    disk::InspectDisk {
        location: Location, format: DiskFormat, encryption: Option<EncryptionFormat>; base_in: Option<WirePath>
    }
    disk::VerifyDisk { disk: WireDisk<'a> }
    disk::GrowDisk { disk: WireDisk<'a>, to: GuestSize }
    disk::ShrinkDisk { disk: WireDisk<'a>, to: GuestSize }
    disk::FlattenDisk { disk: WireDisk<'a> }
    disk::SnapshotDisk { disk: WireDisk<'a>, snapshot: SnapshotId, action: WireSnapshotAction }
    disk::ReplaceContent { disk: WireDisk<'a>, source: WireContentSource<'a> }
    disk::CompareContent { disk: WireDisk<'a>, with: WireContentSource<'a> }
    disk::DigestContent { disk: WireDisk<'a>; first: Option<GuestSize> }
    disk::BackUpHeader { disk: WireDisk<'a>, to: WirePath }
    disk::EraseKeyslots { location: Location, format: DiskFormat }
    disk::DeleteDisk { path: WirePath }
    disk::SweepStaging { path: WirePath }
    vm::StartVm { vm: WireVm<'a> }
    vm::StopVm { vm: VmId, how: WireStopVmHow }
    vm::PauseVm { vm: VmId }
    vm::ResumeVm { vm: VmId }
    vm::InspectVm { vm: VmId }
    vm::ReconcileVms { incoming: Vec<VmId> }
    vm::AttachVmDisk { vm: VmId, disk: WireVmDisk<'a> }
    vm::DetachVmDisk { vm: VmId, target: DiskTarget }
    vm::GrowVmDisk { vm: VmId, target: DiskTarget, to: GuestSize }
    vm::SnapshotVmDisks { vm: VmId, overlays: Vec<WireVmDisk<'a>>; freeze: bool }
    vm::MergeVmDisk { vm: VmId, target: DiskTarget }
    vm::BackUpVmDisks {
        vm: VmId, backups: Vec<WireVmBackup<'a>>; checkpoint: Option<CheckpointId>, since: Option<CheckpointId>
    }
    vm::SaveVm { vm: VmId, memory: WireVmDisk<'a> }
    vm::RestoreVm { vm: WireVm<'a>, memory: WireVmDisk<'a> }
    vm::CopyVmDisk { vm: VmId, to: WireVmDisk<'a> }
    vm::FlattenVmDisk { vm: VmId, target: DiskTarget }
    vm::ChangeVmDiskKey { vm: VmId, disk: WireVmDisk<'a>, to: Key<'a>; named: Option<PassphraseId> }
    vm::PrepareIncomingVm { vm: WireVm<'a>, storage: WireMigratedStorage, sizes: Vec<GuestSize> }
    vm::MigrateVm { vm: VmId, to: WireDestination, storage: WireMigratedStorage }
    vm::FinishIncomingVm { vm: VmId, volumes: Vec<VolumeId> }
}
