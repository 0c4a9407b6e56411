//! A client that speaks TLS and nothing else that is asked of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use strongroom_endpoint_selector::{Endpoint, ListDirectory};
use strongroom_remote_endpoint::{Authority, Role, Validity};
use strongroom_types::Call;

use crate::rig::{Certificates, Served, memory, remote, serve};

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Speaks TLS to an agent with the certificate of a directory, or without one.
pub(crate) fn speak(served: &Served, certificates: &Certificates, own: Option<&Path>) -> Stream {
    let root = certificates.directory.path().join("authority.pem");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = vec![CertificateDer::from_pem_file(own.join("certificate.pem")).unwrap()];
            let key = PrivateKeyDer::from_pem_file(own.join("key.pem")).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"strongroom/1".to_vec()];
    let connection = ClientConnection::new(Arc::new(config), "far".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(&served.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    StreamOwned::new(connection, socket)
}

/// What the agent answers to these bytes until it hangs up.
pub(crate) fn answer(stream: &mut Stream, bytes: &[u8]) -> Vec<u8> {
    // It may hang up before all of it is there.
    drop(stream.write_all(bytes).and_then(|()| stream.flush()));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    answer
}

/// A greeting in the version that is spoken: length, kind, version, client, last number, no installation.
pub(crate) fn hello(version: u8) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 20, 1, version];
    frame.extend([7; 16]);
    frame.extend([0, 0]);
    frame
}

fn expired(certificates: &Certificates) -> PathBuf {
    let day = Duration::from_secs(24 * 60 * 60);
    let validity = Validity::between(SystemTime::now() - 9 * day, SystemTime::now() - day);
    let place = certificates.directory.path();
    std::fs::rename(place.join("control-plane"), place.join("valid")).unwrap();
    Authority::at(place).issue(&Role::ControlPlane, validity).unwrap()
}

#[test]
fn without_a_certificate_or_with_one_that_is_expired_or_an_agents_no_byte_comes_back() {
    let certificates = Certificates::new();
    let served = serve(&certificates.agent, memory());
    let agents = certificates.directory.path().join("agent-far");
    let expired = expired(&certificates);
    for own in [None, Some(agents.as_path()), Some(expired.as_path())] {
        let mut stream = speak(&served, &certificates, own);
        assert_eq!(answer(&mut stream, &hello(1)), b"", "{own:?}");
    }
    // The same client with the right one is answered, so it is the certificate that decides.
    let valid = certificates.directory.path().join("valid");
    let mut stream = speak(&served, &certificates, Some(&valid));
    let mut bytes = hello(1);
    bytes.extend([0, 0, 0, 0]);
    let answered = answer(&mut stream, &bytes);
    assert_eq!(answered.get(4), Some(&129), "{answered:?}");
}

#[test]
fn another_version_is_refused_in_words_and_bad_frames_end_only_their_own_connection() {
    let certificates = Certificates::new();
    let memory = memory();
    let served = serve(&certificates.agent, memory.clone());
    let remote = remote(&served, &certificates.control);
    let own = certificates.directory.path().join("control-plane");
    let mut stream = speak(&served, &certificates, Some(&own));
    let refusal = String::from_utf8_lossy(&answer(&mut stream, &hello(9))).into_owned();
    assert!(
        refusal.contains("speaks version 1 of the protocol, and not 9"),
        "{refusal}"
    );
    let with_hello = |more: &[u8]| [&hello(1)[..], more].concat();
    for bytes in [
        vec![0xff; 64],
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 1, 99],
        with_hello(&[0xff, 0xff, 0xff, 0xff]),
        with_hello(&[0, 2, 0, 1, 2]),
        with_hello(&[0, 0, 0, 3, 2, 0xff, 0xff]),
        with_hello(&[0, 0, 0, 1, 200]),
        with_hello(&[0, 0, 0, 1, 129]),
    ] {
        let mut stream = speak(&served, &certificates, Some(&own));
        let answered = answer(&mut stream, &bytes);
        assert!(
            answered.is_empty() || answered.get(4) == Some(&129),
            "{answered:?}"
        );
        remote
            .run(&Call::new(), &ListDirectory::new(Path::new("/srv")).into())
            .unwrap();
    }
    assert!(memory.commands().iter().all(|name| name == "ListDirectory"));
}

#[test]
fn a_command_that_the_agent_does_not_know_is_refused_by_name() {
    let certificates = Certificates::new();
    let memory = memory();
    let served = serve(&certificates.agent, memory.clone());
    let own = certificates.directory.path().join("control-plane");
    let mut stream = speak(&served, &certificates, Some(&own));
    // Number 1, settled 0, no deadline, not stopped when lost, the name, and no command. Then a frame that ends it all.
    let mut request = vec![1, 0, 0, 0, 9];
    request.extend(b"PolishVm!");
    let length = u8::try_from(request.len() + 1).unwrap();
    let mut bytes = hello(1);
    bytes.extend([0, 0, 0, length, 2]);
    bytes.extend(request);
    stream.write_all(&bytes).unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("does not know the command \"PolishVm!\"") {
        let mut piece = [0; 512];
        let n = stream.read(&mut piece).unwrap();
        assert_ne!(n, 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&piece[..n]);
    }
    assert_eq!(memory.commands(), [""; 0]);
}

#[test]
fn the_number_of_a_request_is_not_taken_for_another_one() {
    let certificates = Certificates::new();
    let served = serve(&certificates.agent, memory());
    let own = certificates.directory.path().join("control-plane");
    let mut stream = speak(&served, &certificates, Some(&own));
    let mut ask = |greeting: &[u8], name: &[u8], wanted: &str| {
        let mut bytes = greeting.to_vec();
        bytes.extend([0, 0, 0, u8::try_from(name.len() + 6).unwrap(), 2]);
        // As above.
        bytes.extend([1, 0, 0, 0, u8::try_from(name.len()).unwrap()]);
        bytes.extend(name);
        stream.write_all(&bytes).unwrap();
        let mut seen = String::new();
        while !seen.contains(wanted) {
            let mut piece = [0; 512];
            let n = stream.read(&mut piece).unwrap();
            assert_ne!(n, 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&piece[..n]));
        }
        seen
    };
    ask(&hello(1), b"PolishVm!", "PolishVm!");
    let refused = ask(b"", b"PolishVm?", "that of another request");
    assert!(!refused.contains("PolishVm?"), "{refused}");
    // The first one has the answer that it had.
    ask(b"", b"PolishVm!", "PolishVm!");
}

#[test]
fn captured_bytes_that_are_sent_again_are_refused() {
    let certificates = Certificates::new();
    let memory = memory();
    let served = serve(&certificates.agent, memory.clone());
    // An ear on the wire.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (ear, agent) = (listener.local_addr().unwrap().to_string(), served.address.clone());
    let listening = std::thread::spawn(move || {
        let (mut client, mut server) = (listener.accept().unwrap().0, TcpStream::connect(agent).unwrap());
        let (mut back, mut forth) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let answers = std::thread::spawn(move || {
            drop(std::io::copy(&mut forth, &mut back));
        });
        let (mut captured, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(n @ 1..) = client.read(&mut piece) {
            captured.extend_from_slice(&piece[..n]);
            server.write_all(&piece[..n]).unwrap();
        }
        drop(server.shutdown(std::net::Shutdown::Both));
        answers.join().unwrap();
        captured
    });
    let remote = crate::rig::at(&ear, &certificates.control);
    let create = crate::lost::create(Path::new("/srv/a"));
    remote.run(&Call::new(), &create.into()).unwrap();
    drop(remote);
    let captured = listening.join().unwrap();
    assert!(captured.len() > 500, "{}", captured.len());
    let mut again = TcpStream::connect(&served.address).unwrap();
    again.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    drop(again.write_all(&captured));
    drop(again.shutdown(std::net::Shutdown::Write));
    drop(again.read_to_end(&mut Vec::new()));
    assert_eq!(memory.commands(), ["CreateDisk"]);
}
