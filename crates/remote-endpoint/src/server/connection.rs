use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{Connection, ServerConnection};

use super::unproven::Place;
use super::{CONNECTIONS, Counted, Shared, TICK, request};
use crate::channel::{Channel, Reader};
use crate::frame::{Hello, Kind, REQUEST_LIMIT, VERSION, Welcome, frame};
use crate::ledger::ClientId;
use crate::wire;

/// How long a connection has to prove itself and to say its first word.
const PROOF: Duration = Duration::from_secs(10);

/// A connection from its first byte to its last.
pub(super) fn serve(shared: &Arc<Shared>, socket: TcpStream, peer: SocketAddr, place: Place) {
    let deadline = Instant::now() + PROOF;
    match greet(shared, socket, deadline, place) {
        Err(e) => tracing::warn!(%peer, error = %e, "refused"),
        Ok((id, channel, mut reader, _counted)) => {
            tracing::info!(%peer, "connected");
            let ended = listen(shared, &id, &channel, &mut reader);
            shared.ledger.leave(&id, &channel, Instant::now());
            channel.close();
            match ended {
                Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => {
                    tracing::warn!(%peer, error = %e, "disconnected");
                }
                _ => tracing::info!(%peer, "disconnected"),
            }
        }
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn encoding(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn greet(
    shared: &Arc<Shared>,
    socket: TcpStream,
    deadline: Instant,
    place: Place,
) -> io::Result<(ClientId, Arc<Channel>, Reader, Counted)> {
    // On some systems an accepted socket takes this over from its listener.
    socket.set_nonblocking(false)?;
    let tls = ServerConnection::new(shared.tls.clone())
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    let (channel, mut reader) = Channel::open(socket, Connection::Server(tls), deadline)?;
    drop(place);
    let counted = Counted::of(shared.clone(), |shared| &shared.connections);
    if shared.connections.load(Ordering::SeqCst) > CONNECTIONS {
        return Err(invalid("there are too many connections already"));
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let first = reader
        .next(REQUEST_LIMIT, left)?
        .ok_or_else(|| invalid("it said nothing in time"))?;
    if first.kind != Kind::Hello {
        return Err(invalid("its first frame is no greeting"));
    }
    let (version, _) = postcard::take_from_bytes::<u16>(&first.content).map_err(encoding)?;
    if version != VERSION {
        let message = format!("this agent speaks version {VERSION} of the protocol, and not {version}");
        channel.send(&frame(Kind::Refused, &message).map_err(encoding)?)?;
        return Err(invalid("it speaks another version of the protocol"));
    }
    let hello: Hello = wire::decode(&first.content).map_err(encoding)?;
    while let Some(installation) = &hello.installation
        && shared.ledger.supersede(&hello.client, installation)
    {
        if Instant::now() >= deadline {
            return Err(invalid("what is done for the one before it does not end"));
        }
        thread::park_timeout(TICK);
    }
    let welcome = Welcome {
        boot: shared.boot,
        facts: shared.endpoint.host().into(),
    };
    // The welcome is the first frame: once the client is known here, answers may follow.
    channel.send(&frame(Kind::Welcome, &welcome).map_err(encoding)?)?;
    if !shared.ledger.arrive(
        hello.client,
        hello.installation,
        hello.last_sent,
        channel.clone(),
        Instant::now(),
    ) {
        return Err(invalid("there are too many clients already"));
    }
    Ok((hello.client, channel, reader, counted))
}

fn listen(
    shared: &Arc<Shared>,
    id: &ClientId,
    channel: &Arc<Channel>,
    reader: &mut Reader,
) -> io::Result<()> {
    loop {
        let next = reader.next(REQUEST_LIMIT, shared.silence)?;
        let next = next.ok_or_else(|| invalid("it was silent for too long"))?;
        match next.kind {
            Kind::Ping => channel.send(&frame(Kind::Pong, &()).map_err(encoding)?)?,
            Kind::Cancel => {
                let number = wire::decode(&next.content).map_err(encoding)?;
                shared.ledger.cancel(id, number);
            }
            Kind::AskFacts => {
                let facts = wire::facts::WireFacts::from(shared.endpoint.host());
                channel.send(&frame(Kind::Facts, &facts).map_err(encoding)?)?;
            }
            Kind::Request => request::take(shared, id, channel, next.content)?,
            _ => return Err(invalid("it sent a frame that only agents send")),
        }
    }
}
