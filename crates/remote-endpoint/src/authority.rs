use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{RemoteError, Role};

/// The certificate of the authority, in every directory of certificates.
pub(crate) const AUTHORITY: &str = "authority.pem";
/// The private key of the authority.
const AUTHORITY_KEY: &str = "authority-key.pem";
/// A certificate.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
/// Its private key.
pub(crate) const KEY: &str = "key.pem";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an authority is valid.
const AUTHORITY_DAYS: u32 = 3650;

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    from: SystemTime,
    to: SystemTime,
}

impl Validity {
    /// From a day ago, for clocks that go differently, until so many days from now.
    #[must_use]
    pub fn days(days: u32) -> Self {
        let now = SystemTime::now();
        Self {
            from: now.checked_sub(DAY).unwrap_or(now),
            to: now.checked_add(DAY.saturating_mul(days)).unwrap_or(now),
        }
    }

    /// Between two instants.
    #[must_use]
    pub fn between(from: SystemTime, to: SystemTime) -> Self {
        Self { from, to }
    }

    /// Until when.
    #[must_use]
    pub fn until(&self) -> SystemTime {
        self.to
    }
}

/// A certificate authority in a directory, for a first try and for tests: whoever has one of their own uses that.
///
/// Certificates that it makes say in a URI which [`Role`] they are for. An agent's is for the server's side of TLS only, and the
/// control plane's for the client's.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
}

impl Authority {
    /// Makes an authority valid for ten years in this directory, which is made with mode 0700 when it is not there: its
    /// certificate and its private key. Who has the key can make certificates for every role.
    ///
    /// # Errors
    /// [`RemoteError`]. Files that are there stay.
    pub fn create(directory: &Path) -> Result<Self, RemoteError> {
        make_directory(directory)?;
        let key = key("an authority")?;
        let certificate = parameters(Validity::days(AUTHORITY_DAYS))
            .self_signed(&key)
            .map_err(make("an authority"))?;
        refuse_taken(directory, &[AUTHORITY, AUTHORITY_KEY])?;
        write(
            &directory.join(AUTHORITY_KEY),
            Zeroizing::new(key.serialize_pem()).as_bytes(),
        )?;
        write(&directory.join(AUTHORITY), certificate.pem().as_bytes())?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// The authority that was made in this directory.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// Makes a certificate and its private key, and puts them with the authority's certificate into a directory of their own below the
    /// authority's, all with mode 0600. Answers with that directory: it is what the holder gets.
    ///
    /// # Errors
    /// [`RemoteError`]. Files that are there stay.
    pub fn issue(&self, role: &Role, validity: Validity) -> Result<PathBuf, RemoteError> {
        let told = role.to_string();
        let path = self.directory.join(AUTHORITY_KEY);
        let pem = fs::read_to_string(&path)
            .map(Zeroizing::new)
            .map_err(|source| RemoteError::File {
                action: "read",
                path,
                source,
            })?;
        let issuer = Issuer::new(
            parameters(Validity::days(AUTHORITY_DAYS)),
            KeyPair::from_pem(&pem).map_err(make(&told))?,
        );
        let directory = self.directory.join(role.directory());
        make_directory(&directory)?;
        refuse_taken(&directory, &[CERTIFICATE, KEY, AUTHORITY])?;
        let key = key(&told)?;
        let certificate = leaf(role, validity)
            .map_err(make(&told))?
            .signed_by(&key, &issuer)
            .map_err(make(&told))?;
        let authority = self.directory.join(AUTHORITY);
        let root = fs::read(&authority).map_err(|source| RemoteError::File {
            action: "read",
            path: authority,
            source,
        })?;
        write(
            &directory.join(KEY),
            Zeroizing::new(key.serialize_pem()).as_bytes(),
        )?;
        write(&directory.join(CERTIFICATE), certificate.pem().as_bytes())?;
        write(&directory.join(AUTHORITY), &root)?;
        Ok(directory)
    }
}

fn make<E: std::error::Error + Send + Sync + 'static>(role: &str) -> impl Fn(E) -> RemoteError + use<'_, E> {
    move |source| RemoteError::Make {
        role: role.to_owned(),
        source: Box::new(source),
    }
}

fn key(role: &str) -> Result<KeyPair, RemoteError> {
    KeyPair::generate().map_err(make(role))
}

/// An authority's certificate. Certificates name their issuer by what is in here, so it is the same each time.
fn parameters(validity: Validity) -> CertificateParams {
    let mut parameters = dated(validity);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters.distinguished_name = named("Strongroom certificate authority");
    parameters
}

fn leaf(role: &Role, validity: Validity) -> Result<CertificateParams, rcgen::Error> {
    let mut parameters = dated(validity);
    parameters.distinguished_name = named(&role.to_string());
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.use_authority_key_identifier_extension = true;
    parameters.extended_key_usages = vec![match role {
        Role::ControlPlane => ExtendedKeyUsagePurpose::ClientAuth,
        Role::Agent(_) => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    parameters.subject_alt_names = vec![
        SanType::DnsName(role.server_name().as_str().try_into()?),
        SanType::URI(role.to_string().as_str().try_into()?),
    ];
    Ok(parameters)
}

fn dated(validity: Validity) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.not_before = OffsetDateTime::from(validity.from);
    parameters.not_after = OffsetDateTime::from(validity.to);
    parameters
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn make_directory(path: &Path) -> Result<(), RemoteError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|source| RemoteError::File {
            action: "make the directory",
            path: path.to_owned(),
            source,
        }),
    }
}

fn refuse_taken(directory: &Path, names: &[&str]) -> Result<(), RemoteError> {
    match names
        .iter()
        .map(|name| directory.join(name))
        .find(|path| path.symlink_metadata().is_ok())
    {
        Some(path) => Err(RemoteError::Taken(path)),
        None => Ok(()),
    }
}

fn write(path: &Path, content: &[u8]) -> Result<(), RemoteError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => RemoteError::Taken(path.to_owned()),
        _ => RemoteError::File {
            action: "write",
            path: path.to_owned(),
            source,
        },
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(failed)
}
