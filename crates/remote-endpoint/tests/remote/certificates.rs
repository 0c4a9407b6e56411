use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use strongroom_endpoint_selector::{Endpoint, ErrorKind, ListDirectory};
use strongroom_remote_endpoint::{
    AgentServer, Authority, Identity, RemoteEndpoint, RemoteError, Role, Validity,
};
use strongroom_types::Call;

use crate::rig::{Certificates, at, host, issued, memory, remote, serve};

fn refused(endpoint: &RemoteEndpoint) -> String {
    let command = ListDirectory::new("/srv".as_ref()).into();
    let error = endpoint.run(&Call::new(), &command).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(error.message().contains("nothing was done"), "{error}");
    error.to_string()
}

#[test]
fn the_right_certificates_are_let_in() {
    let certificates = Certificates::new();
    let memory = memory();
    let served = serve(&certificates.agent, memory.clone());
    let remote = remote(&served, &certificates.control);
    remote
        .run(&Call::new(), &ListDirectory::new("/srv".as_ref()).into())
        .unwrap();
    assert_eq!(memory.commands(), ["ListDirectory"]);
}

#[test]
fn a_control_plane_of_another_authority_gets_nothing() {
    let (ours, theirs) = (Certificates::new(), Certificates::new());
    let memory = memory();
    let served = serve(&ours.agent, memory.clone());
    refused(&remote(&served, &theirs.control));
    // One that trusts our agent, but whose own certificate is another authority's.
    let mixed = tempfile::tempdir().unwrap();
    let (from, to) = (theirs.directory.path().join("control-plane"), mixed.path());
    for name in ["certificate.pem", "key.pem"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let root = ours.directory.path().join("authority.pem");
    std::fs::copy(root, to.join("authority.pem")).unwrap();
    assert!(matches!(Identity::load(to), Err(RemoteError::Certificate { .. })));
    assert_eq!(memory.commands(), [""; 0]);
}

#[test]
fn an_agent_of_another_name_is_not_believed() {
    let certificates = Certificates::new();
    let served = serve(&certificates.agent, memory());
    let other = RemoteEndpoint::new("near".parse().unwrap(), &served.address, &certificates.control).unwrap();
    refused(&other);
}

#[test]
fn nobody_takes_a_side_that_is_not_in_the_certificate() {
    let certificates = Certificates::new();
    assert!(matches!(
        RemoteEndpoint::new(host(), "127.0.0.1:1", &certificates.agent),
        Err(RemoteError::WrongRole { .. })
    ));
    assert!(matches!(
        AgentServer::bind("127.0.0.1:0", &certificates.control, memory()),
        Err(RemoteError::WrongRole { .. })
    ));
    let near = issued(
        certificates.directory.path(),
        &Role::Agent("near".parse().unwrap()),
    );
    assert!(matches!(
        AgentServer::bind("127.0.0.1:0", &near, memory()),
        Err(RemoteError::WrongRole { .. })
    ));
}

#[test]
fn an_expired_certificate_is_refused_and_says_since_when() {
    let certificates = Certificates::new();
    let days = |days: u64| SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
    let validity = Validity::between(days(30), days(3));
    let role = Role::Agent("late".parse().unwrap());
    let directory = Authority::at(certificates.directory.path())
        .issue(&role, validity)
        .unwrap();
    let error = Identity::load(&directory).unwrap_err().to_string();
    assert!(error.contains("expired 3 days ago"), "{error}");
}

#[test]
fn keys_are_private_and_nothing_is_overwritten() {
    let certificates = Certificates::new();
    let directory = certificates.directory.path();
    for path in [
        "authority-key.pem",
        "agent-far/key.pem",
        "agent-far/certificate.pem",
    ] {
        let mode = std::fs::metadata(directory.join(path))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    assert!(matches!(Authority::create(directory), Err(RemoteError::Taken(_))));
    let again = Authority::at(directory).issue(&Role::ControlPlane, Validity::days(1));
    assert!(matches!(again, Err(RemoteError::Taken(_))));
    let key = directory.join("control-plane/key.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        Identity::load(&directory.join("control-plane")),
        Err(RemoteError::Exposed(path)) if path == key
    ));
}

#[test]
fn an_agent_that_is_not_there_is_an_error_that_names_it_and_says_that_nothing_was_done() {
    let certificates = Certificates::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let remote = at(&nobody.to_string(), &certificates.control).with_patience(Duration::from_millis(100));
    let error = remote
        .run(&Call::new(), &ListDirectory::new("/srv".as_ref()).into())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    let told = error.to_string();
    assert!(
        told.contains("host far") && told.contains("nothing was done"),
        "{told}"
    );
    assert_eq!(remote.why_down(), None);
    assert_eq!(remote.host().state, strongroom_types::HostState::Down);
    assert!(remote.why_down().unwrap().contains("refused"));
}
