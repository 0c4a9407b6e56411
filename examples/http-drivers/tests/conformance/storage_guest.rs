use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::Endpoint;
use strongroom_pool_conformance::{Guest, GuestError, HostGuest};
use strongroom_storage_pool::{Attachment, VolumeKey};
use strongroom_types::GuestSize;
use ureq::Agent;

/// Sees a volume that the storage encrypts. For a host it is plain, so what a key opens is for the storage to say.
#[derive(Debug)]
pub(crate) struct StorageGuest {
    host: HostGuest,
    service: SocketAddr,
    agent: Agent,
}

impl StorageGuest {
    pub(crate) fn new(host: Arc<dyn Endpoint>, service: SocketAddr) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self {
            host: HostGuest::new(host),
            service,
            agent: config.into(),
        }
    }
}

fn unusable(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> GuestError {
    GuestError::Unusable(what.into())
}

impl Guest for StorageGuest {
    fn open(&self, at: &Attachment, key: VolumeKey<'_>) -> Result<(), GuestError> {
        if let VolumeKey::Encrypted(key) = key {
            let volume = at
                .location
                .path()
                .file_name()
                .unwrap_or_default()
                .to_string_lossy();
            let url = format!("http://{}/v1/volumes/{volume}/unlock", self.service);
            let passphrase = std::str::from_utf8(key.expose_secret()).map_err(unusable)?;
            let body = serde_json::json!({ "passphrase": passphrase, "stretch": false }).to_string();
            let answer = self.agent.post(url).header("connection", "close").send(body);
            match answer.map_err(unusable)?.status().as_u16() {
                200 => {}
                403 => return Err(GuestError::WrongKey),
                other => return Err(unusable(format!("the service answers {other}"))),
            }
        }
        self.host.open(at, key)
    }

    fn write(&self, at: &Attachment, key: VolumeKey<'_>, image: &Path) -> Result<(), GuestError> {
        self.host.write(at, key, image)
    }

    fn reads(&self, at: &Attachment, key: VolumeKey<'_>, image: &Path) -> Result<bool, GuestError> {
        self.host.reads(at, key, image)
    }

    fn digest(&self, at: &Attachment, key: VolumeKey<'_>, first: GuestSize) -> Result<[u8; 32], GuestError> {
        self.host.digest(at, key, first)
    }
}
