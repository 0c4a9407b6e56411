//! A driver or host that does not keep its promises is found out before anything is called done.

use std::path::Path;
use std::sync::Arc;

use strongroom_control_plane::{ControlPlaneError, SourceImage};
use strongroom_endpoint_selector::{Endpoint, EndpointError, HostAnswer, HostCommand, RegisteredEndpoints};
use strongroom_storage_pool::fake::MemoryPool;
use strongroom_storage_pool::{
    Attachment, Capabilities, CreateVolume, OpContext, PoolDriver, PoolError, PoolUsage, Volume, VolumeKey,
};
use strongroom_types::{Call, DiskFormat, HostFacts, HostId, PoolId, VolumeId};

use crate::fragile::FragileHost;
use crate::site::{Site, able_host, create, id, mib, new_volume};

/// What is not as it was asked for.
#[derive(Debug, Clone, Copy)]
enum Lie {
    Plaintext,
    OtherSize,
    OtherFormat,
    PlainAttachment,
}

#[derive(Debug)]
struct Liar {
    inner: MemoryPool,
    lie: Lie,
}

impl PoolDriver for Liar {
    fn pool(&self) -> &PoolId {
        self.inner.pool()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        self.inner.usage(cx)
    }
    fn create(&self, cx: &OpContext<'_>, request: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        let mut request = *request;
        match self.lie {
            Lie::Plaintext => request.key = VolumeKey::Plain,
            Lie::OtherSize => request.guest = mib(2),
            Lie::OtherFormat => request.format = DiskFormat::Raw,
            Lie::PlainAttachment => {}
        }
        self.inner.create(cx, &request)
    }
    fn delete(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<(), PoolError> {
        self.inner.delete(cx, volume)
    }
    fn get(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<Option<Volume>, PoolError> {
        self.inner.get(cx, volume)
    }
    fn attach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<Attachment, PoolError> {
        let mut attachment = self.inner.attach(cx, volume, host)?;
        attachment.encryption = None;
        Ok(attachment)
    }
    fn detach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
        self.inner.detach(cx, volume, host)
    }
}

#[test]
fn a_disk_that_is_not_what_was_asked_for_is_removed_with_its_key() {
    for (lie, problem) in [
        (Lie::Plaintext, "it has no encryption, not luks1"),
        (Lie::OtherSize, "its guest sees 2097152 bytes, not 1048576"),
        (Lie::OtherFormat, "it is raw, not qcow2"),
    ] {
        let (site, control) = Site::bare(able_host("local", &["liar"]));
        let inner = MemoryPool::new(id("liar"));
        let liar = Arc::new(Liar { inner, lie });
        let control = site.add_driver(control, liar.clone());
        let refused = control
            .create_volume(&Call::new(), &new_volume("vol", "secret"))
            .unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("volume vol is not what its record says: {problem}")
        );
        assert_eq!(liar.inner.volumes(), []);
        for table in ["volumes", "passphrases", "jobs"] {
            assert_eq!(site.count(table), 0, "{table}");
        }
    }
}

#[test]
fn a_disk_that_is_attached_as_plain_is_not_worked_on() {
    let (site, control) = Site::bare(able_host("local", &["liar"]));
    let inner = MemoryPool::new(id("liar"));
    let lie = Lie::PlainAttachment;
    let liar = Arc::new(Liar { inner, lie });
    let control = site.add_driver(control, liar.clone());
    let vol = create(&control, "vol", "secret");
    let refused = control.verify_volume(&Call::new(), &vol).unwrap_err();
    assert!(matches!(refused, ControlPlaneError::Mismatch { .. }), "{refused}");
    assert_eq!(
        site.host.inner.commands(),
        Vec::<String>::new(),
        "no host was asked"
    );
    assert!(liar.inner.attached(&vol).is_empty(), "it is detached again");
    assert_eq!(site.count("attachments"), 0);
    // It can be deleted, and what could not be overwritten is said.
    let erasure = control.delete_volume(&Call::new(), &vol).unwrap();
    assert!(erasure.left[0].contains("a disk of another kind"), "{erasure:?}");
    assert_eq!(liar.inner.volumes(), []);
    assert_eq!(site.count("passphrases"), 0);
}

/// A host that says "done" to questions.
#[derive(Debug)]
struct Confused(Arc<FragileHost>);

impl Endpoint for Confused {
    fn host(&self) -> HostFacts {
        self.0.host()
    }
    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        match command {
            HostCommand::VerifyDisk(_) | HostCommand::CompareContent(_) => Ok(HostAnswer::Done),
            _ => self.0.run(call, command),
        }
    }
}

#[test]
fn an_answer_to_another_question_proves_nothing() {
    let (site, control) = Site::new();
    let vol = create(&control, "vol", "secret");
    drop(control);
    let mut endpoints = RegisteredEndpoints::new();
    endpoints.register(Arc::new(Confused(site.host.clone())));
    let control = site.start_with(Arc::new(endpoints));
    let image = SourceImage::new(Path::new("/images/b"), DiskFormat::Raw);
    for refused in [
        control.verify_volume(&Call::new(), &vol).map(drop),
        control.compare_content(&Call::new(), &vol, &image).map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, ControlPlaneError::Answer { .. }), "{refused:?}");
    }
    assert_eq!(site.count("attachments"), 0);
}
