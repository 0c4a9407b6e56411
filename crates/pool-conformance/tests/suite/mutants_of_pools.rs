use std::sync::Arc;

use strongroom_storage_pool::fake::MemoryPool;
use strongroom_storage_pool::{Encryption, ErrorKind, PoolError, PoolUsage, Reach, SizeRule, VolumeKey};
use strongroom_types::{ByteSize, DiskFormat, EncryptionFormat, VolumeId};

use crate::faulty::error;
use crate::mutant::Spoil;
use crate::site::pool_id;

pub(crate) const TABLE: &[(&str, Spoil)] = &[
    ("capabilities-do-not-change", |m| {
        m.faults.delete = Some(Arc::new(|d, memory, cx, volume| {
            memory.first("deleted");
            d.delete(cx, volume)
        }));
        m.faults.capabilities = Some(Arc::new(|d, memory| {
            let mut can = d.capabilities();
            if memory.seen().contains("deleted") {
                can.reach = Reach::Zone;
            }
            can
        }));
    }),
    ("prepare-again-is-fine", |m| {
        m.faults.prepare = Some(Arc::new(|d, memory, cx| {
            if memory.first("prepare") {
                return d.prepare(cx);
            }
            Err(error(ErrorKind::AlreadyExists, "it is prepared"))
        }));
    }),
    ("storage-of-another-pool-is-refused", |m| {
        m.site_is(|site, _| site.with_other_pool(|| Ok::<_, PoolError>(MemoryPool::new(pool_id("silver")))));
    }),
    ("usage-adds-up", |m| {
        m.faults.usage = Some(Arc::new(|_, _, _| {
            Ok(PoolUsage::new(ByteSize::gib(1), ByteSize::gib(2)))
        }));
    }),
    ("what-the-pool-cannot-do-is-unsupported", |m| {
        m.able(|can| can.grow = false).grow = Some(Arc::new(|_, _, _, _| {
            Err(error(ErrorKind::InvalidRequest, "it does not grow"))
        }));
    }),
    ("volumes-outlive-the-driver", |m| {
        m.faults.create = Some(Arc::new(|d, memory, cx, r| {
            memory.first(r.volume);
            d.create(cx, r)
        }));
        m.faults.clone_volume = Some(Arc::new(|d, memory, cx, r| {
            memory.first(r.volume);
            d.clone_volume(cx, r)
        }));
        m.faults.get = Some(Arc::new(|d, memory, cx, volume| {
            let found = d.get(cx, volume)?;
            Ok(found.filter(|v| memory.seen().contains(volume.as_str()) || !v.snapshots.is_empty()))
        }));
    }),
    ("names-do-not-collide", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| {
            let id: VolumeId = r.volume.as_str().replace('_', "-").parse().unwrap();
            let mut request = *r;
            request.volume = &id;
            d.create(cx, &request)
        }));
    }),
    ("volumes-are-made-by-several-threads", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match std::thread::current().name() {
            Some(_) => d.create(cx, r),
            None => Err(error(ErrorKind::Busy, "another thread is at it")),
        }));
    }),
    ("create-makes-what-was-asked", |m| {
        let faults = m.able(|can| {
            can.encryption = Encryption::OnHost(EncryptionFormat::Luks2);
            can.formats.remove(&DiskFormat::Qcow2);
            can.overlays.clear();
            can.snapshot_offline.clear();
            can.snapshot_group = false;
            can.sizes = SizeRule::DeviceRoundedTo(1 << 20);
        });
        faults.capabilities = Some(Arc::new(|d, _| {
            let mut can = d.capabilities();
            can.encryption = Encryption::OnHost(EncryptionFormat::Luks1);
            can
        }));
    }),
    ("devices-follow-the-size-rule", |m| {
        m.able(|can| can.sizes = SizeRule::DeviceRoundedTo(8 << 20))
            .capabilities = Some(Arc::new(|d, _| {
            let mut can = d.capabilities();
            can.sizes = SizeRule::Exact;
            can
        }));
    }),
    ("encryption-is-refused-where-there-is-none", |m| {
        m.without_encryption().create = Some(Arc::new(|d, _, cx, r| {
            let mut request = *r;
            request.key = VolumeKey::Plain;
            d.create(cx, &request)
        }));
    }),
    ("without-a-host-nothing-is-made-plain", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match d.create(cx, r) {
            Err(e) if e.kind() == ErrorKind::NoHost && r.format == DiskFormat::Raw => {
                let mut request = *r;
                request.key = VolumeKey::Plain;
                d.create(cx, &request)
            }
            other => other,
        }));
    }),
    ("limits-again-are-fine", |m| {
        m.faults.limit = Some(Arc::new(|d, memory, cx, r| {
            if cx.call.check().is_err() || memory.first(r.volume) {
                return d.limit(cx, r);
            }
            Err(error(ErrorKind::AlreadyExists, "there are limits"))
        }));
    }),
    ("recover-takes-nothing-that-is-whole", |m| {
        m.faults.create = Some(Arc::new(|d, memory, cx, r| {
            memory.first(r.volume);
            d.create(cx, r)
        }));
        m.faults.recover = Some(Arc::new(|d, memory, cx| {
            let last = memory.seen().iter().nth(1).map(|id| id.parse().unwrap());
            last.map_or(Ok(()), |last| d.delete(cx, &last))
        }));
    }),
];
