//! Sites of drivers that work in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use strongroom_endpoint_selector::RegisteredEndpoints;
use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_pool_conformance::{Guest, GuestError, Site};
use strongroom_storage_pool::fake::MemoryPool;
use strongroom_storage_pool::{
    Attachment, CreateVolume, ErrorKind, OpContext, PoolDriver, PoolError, VolumeContent, VolumeKey,
};
use strongroom_types::{ByteSize, Call, Capability, Finding, GuestSize, HostFacts, PoolId, VolumeId};

use crate::on_host::OnHost;

pub(crate) const SIZE: u64 = 64 << 10;

pub(crate) type Images = Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>;

pub(crate) fn pool_id(name: &str) -> PoolId {
    name.parse().unwrap()
}

pub(crate) fn node() -> Arc<MemoryEndpoint> {
    let mut facts = HostFacts::new("node-1".parse().unwrap());
    facts.pools.insert(pool_id("gold"));
    for capability in [
        Capability::PlainImages,
        Capability::Qcow2Luks,
        Capability::RawLuks1,
        Capability::Luks2,
    ] {
        facts
            .capabilities
            .record(capability, Finding::Works("seen".into()));
    }
    Arc::new(MemoryEndpoint::new(facts))
}

/// Sees the volumes of a pool in memory.
#[derive(Debug)]
pub(crate) struct MemoryGuest(pub(crate) Arc<MemoryPool>);

impl MemoryGuest {
    fn volume(at: &Attachment) -> VolumeId {
        at.location
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Asks the pool itself, past whatever stands before it.
    fn opened(&self, at: &Attachment, key: VolumeKey<'_>) -> Result<VolumeId, GuestError> {
        let (call, mut hosts, id) = (Call::new(), RegisteredEndpoints::new(), Self::volume(at));
        hosts.register(node());
        let cx = OpContext::new(&call, &hosts);
        let unusable = |e: PoolError| match e.kind() {
            ErrorKind::WrongKey => GuestError::WrongKey,
            _ => GuestError::Unusable(e.into()),
        };
        let there = self.0.get(&cx, &id).map_err(unusable)?;
        let there = there.ok_or_else(|| GuestError::Unusable("there is no volume".into()))?;
        let request = CreateVolume::new(&id, there.guest, there.format, key, VolumeContent::Blank);
        self.0.create(&cx, &request).map_err(unusable)?;
        Ok(id)
    }
}

impl Guest for MemoryGuest {
    fn open(&self, at: &Attachment, key: VolumeKey<'_>) -> Result<(), GuestError> {
        self.opened(at, key).map(drop)
    }
    fn write(&self, at: &Attachment, key: VolumeKey<'_>, image: &Path) -> Result<(), GuestError> {
        let id = self.opened(at, key)?;
        self.0.write(&id, image);
        Ok(())
    }
    fn reads(&self, at: &Attachment, key: VolumeKey<'_>, image: &Path) -> Result<bool, GuestError> {
        let id = self.opened(at, key)?;
        Ok(self.0.content(&id).as_deref() == Some(image))
    }
    fn digest(&self, at: &Attachment, key: VolumeKey<'_>, _: GuestSize) -> Result<[u8; 32], GuestError> {
        let id = self.opened(at, key)?;
        let mut digest = [0; 32];
        for (number, byte) in self
            .0
            .content(&id)
            .unwrap_or_default()
            .to_str()
            .unwrap()
            .bytes()
            .enumerate()
        {
            digest[number % 32] ^= byte.rotate_left(u32::try_from(number % 7).unwrap());
        }
        Ok(digest)
    }
}

fn content(images: &Images, path: &Path) -> Vec<u8> {
    images.lock().unwrap().get(path).cloned().unwrap_or_default()
}

/// The site of this driver, whose volumes are in that pool.
pub(crate) fn in_memory<D: PoolDriver + Clone + 'static>(pool: &Arc<MemoryPool>, driver: D) -> Site {
    let images = Images::default();
    let put = {
        let (images, pool) = (images.clone(), Arc::clone(pool));
        move |name: &str, bytes: &[u8]| {
            let path = Path::new("/images").join(name);
            pool.add_image(&path, ByteSize::bytes(bytes.len().try_into().unwrap()));
            images.lock().unwrap().insert(path.clone(), bytes.to_vec());
            Ok(path)
        }
    };
    let stored = {
        let pool = Arc::clone(pool);
        move |volume: &VolumeId, _: &Attachment| {
            let stored = pool.stored(volume, |path| content(&images, path));
            let mut stored = stored.ok_or_else(|| io::Error::other("there is no volume"))?;
            stored.truncate(256 << 10);
            Ok(stored)
        }
    };
    let other = Arc::clone(pool);
    Site::new(move || Ok::<_, PoolError>(driver.clone()))
        .with_host(node())
        .with_guest(Arc::new(MemoryGuest(Arc::clone(pool))))
        .with_other_pool(move || Ok::<_, PoolError>(other.reopened(pool_id("silver"))))
        .with_images(put)
        .with_stored(stored)
        .with_size(GuestSize::new(SIZE).unwrap())
}

pub(crate) fn gold() -> MemoryPool {
    MemoryPool::new(pool_id("gold"))
}

/// The site of this driver, whose volumes are on that host.
pub(crate) fn on_host<D: PoolDriver + Clone + 'static>(node: &Arc<MemoryEndpoint>, driver: D) -> Site {
    let images = Images::default();
    let put = {
        let (images, node) = (images.clone(), Arc::clone(node));
        move |name: &str, bytes: &[u8]| {
            let path = Path::new("/images").join(name);
            node.add_image(&path, ByteSize::bytes(bytes.len().try_into().unwrap()));
            images.lock().unwrap().insert(path.clone(), bytes.to_vec());
            Ok(path)
        }
    };
    let stored = {
        let node = Arc::clone(node);
        move |_: &VolumeId, at: &Attachment| {
            let stored = node.stored(at.location.path(), |path| content(&images, path));
            let mut stored = stored.ok_or_else(|| io::Error::other("there is no disk"))?;
            stored.truncate(256 << 10);
            Ok(stored)
        }
    };
    let listed = Arc::clone(node);
    let list = move || -> io::Result<BTreeSet<String>> {
        let paths = listed.paths();
        Ok(paths.iter().map(|path| path.display().to_string()).collect())
    };
    Site::new(move || Ok::<_, PoolError>(driver.clone()))
        .with_host(node.clone())
        .with_images(put)
        .with_stored(stored)
        .with_listing(list)
        .with_size(GuestSize::new(SIZE).unwrap())
}

pub(crate) fn sound_on_host() -> Site {
    on_host(&node(), OnHost(pool_id("gold")))
}
