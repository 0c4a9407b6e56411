//! Certificates of the right authority that this crate would not have made.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType,
};
use rustls::{ServerConnection, StreamOwned};
use std::io::Read;
use strongroom_endpoint_selector::{Endpoint, ErrorKind, ListDirectory};
use strongroom_remote_endpoint::Role;
use strongroom_types::Call;

use crate::limits::agent_config;
use crate::rig::{Certificates, at, host, memory, serve};
use crate::stranger::{answer, hello, speak};

/// A certificate for this use with these names in it.
fn forged(place: &Path, name: &str, usage: ExtendedKeyUsagePurpose, names: &[SanType]) -> PathBuf {
    let authority = KeyPair::from_pem(&std::fs::read_to_string(place.join("authority-key.pem")).unwrap());
    // As the authority is named.
    let mut named = CertificateParams::default();
    named.distinguished_name = DistinguishedName::new();
    named
        .distinguished_name
        .push(DnType::CommonName, "Strongroom certificate authority");
    let issuer = Issuer::new(named, authority.unwrap());
    let mut wanted = CertificateParams::default();
    wanted.extended_key_usages = vec![usage];
    wanted.subject_alt_names = names.to_vec();
    let key = KeyPair::generate().unwrap();
    let certificate = wanted.signed_by(&key, &issuer).unwrap();
    let own = place.join(name);
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(own.join("certificate.pem"), certificate.pem()).unwrap();
    own
}

fn uri(role: &str) -> SanType {
    SanType::URI(role.try_into().unwrap())
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

#[test]
fn of_the_authoritys_clients_only_one_that_is_a_control_plane_and_nothing_else_is_let_in() {
    let certificates = Certificates::new();
    let served = serve(&certificates.agent, memory());
    let (control, agent) = (
        uri(&Role::ControlPlane.to_string()),
        uri(&Role::Agent(host()).to_string()),
    );
    for (name, names, is_let_in) in [
        ("nobody", &[dns("someone")][..], false),
        ("agent", &[agent.clone()][..], false),
        ("similar", &[uri("strongroom:control-plane/x")][..], false),
        ("both", &[control.clone(), agent.clone()][..], false),
        ("right", &[control.clone()][..], true),
    ] {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let own = forged(certificates.directory.path(), name, usage, names);
        let mut stream = speak(&served, &certificates, Some(&own));
        let mut bytes = hello(1);
        bytes.extend([0, 0, 0, 0]);
        let answered = answer(&mut stream, &bytes);
        assert_eq!(answered.get(4) == Some(&129), is_let_in, "{name}: {answered:?}");
        assert!(is_let_in || answered.is_empty(), "{name}: {answered:?}");
    }
}

#[test]
fn an_agent_is_believed_only_with_its_role_and_its_name_and_hears_nothing_else() {
    let certificates = Certificates::new();
    let place = certificates.directory.path();
    let agent = |name: &str| uri(&Role::Agent(name.parse().unwrap()).to_string());
    for (name, names, is_greeted) in [
        ("no-role", &[dns("far")][..], false),
        ("other-role", &[dns("far"), agent("near")][..], false),
        ("two-roles", &[dns("far"), agent("near"), agent("far")][..], false),
        ("other-name", &[dns("near"), agent("far")][..], false),
        ("right", &[dns("far"), agent("far")][..], true),
    ] {
        let own = forged(place, name, ExtendedKeyUsagePurpose::ServerAuth, names);
        let config = Arc::new(agent_config(place, &own));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let liar = std::thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
            stream.read(&mut [0; 24]).is_ok_and(|n| n > 0)
        });
        let remote = at(&address, &certificates.control).with_patience(Duration::ZERO);
        let call = Call::new();
        let command = ListDirectory::new(Path::new("/srv")).into();
        let error = remote.run(&call, &command).unwrap_err();
        assert_eq!(liar.join().unwrap(), is_greeted, "{name}: {error}");
        assert_eq!(
            error.kind() != ErrorKind::PermissionDenied,
            is_greeted,
            "{name}: {error}"
        );
    }
}
