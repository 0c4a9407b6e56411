use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{Endpoint, ListDirectory};
use strongroom_types::Call;

use crate::rig::{Certificates, memory, remote, serve, until};

fn works(remote: &impl Endpoint) {
    let command = ListDirectory::new(Path::new("/srv")).into();
    remote
        .run(&Call::new().with_timeout(Duration::from_secs(30)), &command)
        .unwrap();
}

#[test]
fn garbage_before_tls_ends_that_connection_and_no_other() {
    let certificates = Certificates::new();
    let served = serve(&certificates.agent, memory());
    let remote = remote(&served, &certificates.control);
    works(&remote);
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 70_000],
        &[0x16, 3, 1, 0xff, 0xff, 1],
        b"\0",
    ] {
        let mut socket = TcpStream::connect(&served.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        // The agent may hang up in the middle.
        drop(socket.write_all(garbage));
        drop(socket.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        // A reset is an end as well.
        drop(socket.read_to_end(&mut answer));
        // Nothing but a TLS alert: type 21, at most one record of two bytes.
        assert!(
            answer.is_empty() || (answer[0] == 21 && answer.len() == 7),
            "{answer:?}"
        );
        works(&remote);
    }
}

#[test]
fn who_says_nothing_is_sent_away_within_seconds() {
    let certificates = Certificates::new();
    let served = serve(&certificates.agent, memory());
    let begun = Instant::now();
    let mut silent = TcpStream::connect(&served.address).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(silent.read(&mut [0; 1]).unwrap_or(0), 0);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn a_flood_of_connections_is_bounded_and_keeps_no_control_plane_out() {
    let certificates = Certificates::new();
    let served = serve(&certificates.agent, memory());
    let before = remote(&served, &certificates.control);
    works(&before);
    let flood: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(&served.address).unwrap())
        .collect();
    let gone = |mut socket: &TcpStream| {
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        matches!(socket.read(&mut [0; 1]), Ok(0))
    };
    let count = || flood.iter().filter(|socket| gone(socket)).count();
    until("the 136 oldest are sent away", || count() >= 136);
    assert!(flood[136..].iter().all(|socket| !gone(socket)));
    works(&before);
    let begun = Instant::now();
    works(&remote(&served, &certificates.control));
    // That took the place of one of them, and did not wait until they are sent away.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    until("one more is sent away", || count() == 137);
}

#[test]
fn the_65th_control_plane_is_not_served_and_the_others_are() {
    let certificates = Certificates::new();
    let served = serve(&certificates.agent, memory());
    let many: Vec<_> = (0..64).map(|_| remote(&served, &certificates.control)).collect();
    many.iter().for_each(works);
    let late = remote(&served, &certificates.control);
    let command = ListDirectory::new(Path::new("/srv")).into();
    let hurried = Call::new().with_timeout(Duration::from_millis(500));
    late.run(&hurried, &command).unwrap_err();
    many.iter().for_each(works);
    drop(many);
    works(&late);
}
