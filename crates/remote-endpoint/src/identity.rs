use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use zeroize::Zeroizing;

use crate::authority::{AUTHORITY, CERTIFICATE, KEY};
use crate::verifier::{AgentVerifier, ControlPlaneVerifier, roles};
use crate::{RemoteError, Role};

/// The name of the protocol inside TLS.
const PROTOCOL: &[u8] = b"strongroom/1";

/// A certificate with its private key and the authority that is trusted.
pub struct Identity {
    role: Role,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads `certificate.pem`, `key.pem` and `authority.pem` from a directory. A key that others may read is refused, and so is a certificate
    /// that is not valid now, that the authority did not sign, or that has no role.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn load(directory: &Path) -> Result<Self, RemoteError> {
        let path = directory.join(CERTIFICATE);
        let chain = certificates(&path)?;
        let roots = certificates(&directory.join(AUTHORITY))?;
        let role = valid_role(&chain, &roots).map_err(|reason| RemoteError::Certificate { path, reason })?;
        let mut trusted = RootCertStore::empty();
        for root in roots {
            trusted.add(root).map_err(tls)?;
        }
        Ok(Self {
            role,
            chain,
            key: private_key(&directory.join(KEY))?,
            roots: Arc::new(trusted),
        })
    }

    /// Whom the certificate is for.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// What an agent's side of TLS needs. Nothing is resumed: every connection proves its certificate.
    pub(crate) fn server(&self) -> Result<ServerConfig, RemoteError> {
        let verifier = ControlPlaneVerifier::new(self.roots.clone(), provider())
            .map_err(|e| RemoteError::Tls(e.into()))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(tls)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// What the control plane's side of TLS needs, to talk to this host.
    pub(crate) fn client(&self, agent: Role) -> Result<ClientConfig, RemoteError> {
        let verifier = AgentVerifier::new(self.roots.clone(), provider(), agent)
            .map_err(|e| RemoteError::Tls(e.into()))?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(tls)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn tls(error: rustls::Error) -> RemoteError {
    RemoteError::Tls(Box::new(error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RemoteError> {
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(RemoteError::Pem {
            what: "certificate",
            path: path.to_owned(),
        }),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, RemoteError> {
    let pem = Zeroizing::new(read(path)?);
    if fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
        return Err(RemoteError::Exposed(path.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| RemoteError::Pem {
        what: "private key",
        path: path.to_owned(),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, RemoteError> {
    fs::read(path).map_err(|source| RemoteError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

/// The one role of a certificate that is valid now.
fn valid_role(chain: &[CertificateDer<'_>], roots: &[CertificateDer<'_>]) -> Result<Role, String> {
    let [first, rest @ ..] = chain else {
        return Err("it is empty".to_owned());
    };
    let leaf = EndEntityCert::try_from(first).map_err(|e| e.to_string())?;
    let role = match roles(&leaf).as_slice() {
        [role] => role.clone(),
        [] => return Err("it has no role of ours; have it made anew".to_owned()),
        _ => return Err("it has several roles; have it made anew".to_owned()),
    };
    let anchors: Vec<_> = roots
        .iter()
        .map(anchor_from_trusted_cert)
        .collect::<Result<_, _>>()
        .map_err(|e| format!("the authority's certificate: {e}"))?;
    let usage = match role {
        Role::ControlPlane => KeyUsage::client_auth(),
        Role::Agent(_) => KeyUsage::server_auth(),
    };
    let algorithms = provider().signature_verification_algorithms.all;
    match leaf.verify_for_usage(algorithms, &anchors, rest, UnixTime::now(), usage, None, None) {
        Ok(_) => Ok(role),
        Err(webpki::Error::CertExpired { time, not_after }) => Err(format!(
            "it expired {} days ago; have it made anew",
            time.as_secs().saturating_sub(not_after.as_secs()) / (24 * 60 * 60)
        )),
        Err(e) => Err(format!("{e}; is it of the authority that is beside it?")),
    }
}
