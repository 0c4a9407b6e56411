//! How long frames may be, on both sides.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use strongroom_endpoint_selector::{
    Endpoint, EndpointError, ErrorKind, HostAnswer, HostCommand, ListDirectory,
};
use strongroom_types::{Call, HostFacts};

use crate::rig::{Certificates, at, memory, remote, serve};
use crate::stranger::{answer, hello, speak};

#[test]
fn a_command_that_does_not_fit_a_frame_is_refused_before_it_is_sent() {
    let certificates = Certificates::new();
    let memory = memory();
    let served = serve(&certificates.agent, memory.clone());
    let remote = remote(&served, &certificates.control);
    let ask = |length| {
        let path = PathBuf::from(format!("/{}", "a".repeat(length)));
        remote.run(&Call::new(), &ListDirectory::new(&path).into())
    };
    let error = ask(128 << 10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(error.message().contains("too long"), "{error}");
    assert_eq!(memory.commands(), [""; 0]);
    ask((128 << 10) - 100).unwrap();
    assert_eq!(memory.commands(), ["ListDirectory"]);
}

#[test]
fn an_agent_reads_frames_of_128_kib_and_no_byte_of_a_longer_one() {
    let certificates = Certificates::new();
    let served = serve(&certificates.agent, memory());
    let own = certificates.directory.path().join("control-plane");
    for (length, is_answered) in [(128_u32 << 10, true), ((128 << 10) + 1, false)] {
        let mut bytes = hello(1);
        bytes.extend(length.to_be_bytes());
        // A heartbeat, whose content nobody reads.
        bytes.push(4);
        bytes.extend(vec![0; usize::try_from(length).unwrap() - 1]);
        // What ends it all.
        bytes.extend([0, 0, 0, 0]);
        let mut stream = speak(&served, &certificates, Some(&own));
        let answered = answer(&mut stream, &bytes);
        assert_eq!(answered.ends_with(&[0, 0, 0, 1, 133]), is_answered, "{length}");
    }
}

/// An endpoint whose directories have a million names.
#[derive(Debug)]
struct Crowded(usize);

impl Endpoint for Crowded {
    fn host(&self) -> HostFacts {
        HostFacts::new(crate::rig::host())
    }
    fn run(&self, _: &Call, _: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        let name = |number| format!("{number:060}");
        Ok(HostAnswer::Names((0..self.0).map(name).collect()))
    }
}

#[test]
fn a_million_names_come_back_and_an_answer_that_does_not_fit_says_so_and_that_it_is_done() {
    let certificates = Certificates::new();
    let ask = |names| {
        let served = serve(&certificates.agent, Arc::new(Crowded(names)));
        let remote = remote(&served, &certificates.control);
        remote.run(&Call::new(), &ListDirectory::new(Path::new("/srv")).into())
    };
    assert!(matches!(ask(1_000_000).unwrap(), HostAnswer::Names(names) if names.len() == 1_000_000));
    let error = ask(1_150_000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("it is done"), "{error}");
}

/// What an agent's side of TLS needs with a certificate that is in a directory.
pub(crate) fn agent_config(authority: &Path, own: &Path) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.join("authority.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let chain = vec![CertificateDer::from_pem_file(own.join("certificate.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(own.join("key.pem")).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"strongroom/1".to_vec()];
    config
}

#[test]
fn a_control_plane_gives_up_an_agent_that_announces_more_than_64_mib() {
    let certificates = Certificates::new();
    let place = certificates.directory.path();
    let config = agent_config(place, &place.join("agent-far"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let liar = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        let tls = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(tls, socket);
        let mut greeting = [0; 24];
        stream.read_exact(&mut greeting).unwrap();
        stream.write_all(&((64_u32 << 20) + 1).to_be_bytes()).unwrap();
        stream.flush().unwrap();
        // It hangs up, and does not wait for the rest.
        matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_))
    });
    let remote = at(&address, &certificates.control);
    let call = Call::new().with_timeout(Duration::from_secs(10));
    let error = remote
        .run(&call, &ListDirectory::new(Path::new("/srv")).into())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(error.message().contains("too long"), "{error}");
    assert!(liar.join().unwrap());
}
