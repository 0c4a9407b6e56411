//! A TLS connection that one thread reads and any number write.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::Connection;
use zeroize::{Zeroize, Zeroizing};

use crate::frame::{Frame, Kind};

/// How much is encrypted at a time: a TLS record.
const PIECE: usize = 16 << 10;
/// How long the other side may take no byte before the connection is given up.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// How long a refused side has to take the refusal.
const FAREWELL: Duration = Duration::from_millis(500);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The writing half.
pub(crate) struct Channel {
    socket: TcpStream,
    tls: Mutex<Connection>,
    /// Who writes to the socket. It is taken before `tls`, which is never held while the socket blocks: else two sides that both
    /// write could wait for each other to read.
    writing: Mutex<()>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Channel {
    /// Shakes hands until the deadline.
    pub(crate) fn open(
        mut socket: TcpStream,
        mut tls: Connection,
        deadline: Instant,
    ) -> io::Result<(Arc<Self>, Reader)> {
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(WRITE_PATIENCE))?;
        while tls.is_handshaking() || tls.wants_write() {
            while tls.wants_write() {
                tls.write_tls(&mut socket)?;
            }
            if !tls.is_handshaking() {
                break;
            }
            socket.set_read_timeout(Some(left(deadline)?))?;
            if tls.read_tls(&mut socket)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Err(e) = tls.process_new_packets() {
                tell_why(&mut tls, &mut socket);
                return Err(tls_error(e));
            }
        }
        let channel = Arc::new(Self {
            socket,
            tls: Mutex::new(tls),
            writing: Mutex::new(()),
        });
        let reader = Reader {
            channel: channel.clone(),
            cipher: vec![0; PIECE],
            begin: 0,
            end: 0,
            header: [0; 4],
            filled: 0,
            body: None,
        };
        Ok((channel, reader))
    }

    /// Sends a frame. When that fails, a part of it may be gone already, so the connection is closed.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.write(frame).inspect_err(|_| self.close())
    }

    fn write(&self, frame: &[u8]) -> io::Result<()> {
        let _turn = lock(&self.writing);
        for piece in frame.chunks(PIECE) {
            let mut out = Vec::with_capacity(PIECE + 256);
            {
                let mut tls = lock(&self.tls);
                tls.writer().write_all(piece)?;
                while tls.wants_write() {
                    tls.write_tls(&mut out)?;
                }
            }
            (&self.socket).write_all(&out)?;
        }
        Ok(())
    }

    /// Ends the connection; who reads it notices.
    pub(crate) fn close(&self) {
        // It may be closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Tells the other side why there is no connection, if it still listens. Closing a socket that has unread bytes could take that
/// back, so some are read first.
fn tell_why(tls: &mut Connection, socket: &mut TcpStream) {
    let told = tls
        .write_tls(socket)
        .and_then(|_| socket.shutdown(Shutdown::Write));
    if told.is_err() || socket.set_read_timeout(Some(FAREWELL)).is_err() {
        return;
    }
    let mut unread = [0; 4096];
    for _ in 0..4 {
        if !matches!(socket.read(&mut unread), Ok(1..)) {
            return;
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// The reading half. What arrived of a frame stays when the time is over.
pub(crate) struct Reader {
    channel: Arc<Channel>,
    cipher: Vec<u8>,
    begin: usize,
    end: usize,
    header: [u8; 4],
    filled: usize,
    body: Option<Zeroizing<Vec<u8>>>,
}

impl Reader {
    /// The next frame of at most `limit` bytes, or nothing when it is not whole after `patience`.
    pub(crate) fn next(&mut self, limit: usize, patience: Duration) -> io::Result<Option<Frame>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(mut body) = self.body.take() {
                while self.filled < body.len() {
                    let filled = self.filled;
                    match self.read(body.get_mut(filled..).unwrap_or_default(), deadline) {
                        Ok(n) => self.filled += n,
                        Err(e) => {
                            self.body = Some(body);
                            return nothing_yet(e);
                        }
                    }
                }
                self.filled = 0;
                let kind = body.first().copied().and_then(Kind::of);
                let kind = kind.ok_or_else(|| broken("a frame of a kind that is not known here"))?;
                let content = Zeroizing::new(body.get(1..).unwrap_or_default().to_vec());
                body.zeroize();
                return Ok(Some(Frame { kind, content }));
            }
            let mut header = self.header;
            while self.filled < header.len() {
                let filled = self.filled;
                match self.read(header.get_mut(filled..).unwrap_or_default(), deadline) {
                    Ok(n) => self.filled += n,
                    Err(e) => {
                        self.header = header;
                        return nothing_yet(e);
                    }
                }
            }
            let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
            if length == 0 || length > limit {
                return Err(broken("a frame that is empty or too long"));
            }
            self.filled = 0;
            self.body = Some(Zeroizing::new(vec![0; length]));
        }
    }

    /// Decrypted bytes, at least one.
    fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            {
                let mut tls = lock(&self.channel.tls);
                match tls.reader().read(buffer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    other => return other,
                }
                if let Some(mut rest @ [_, ..]) = self.cipher.get(self.begin..self.end) {
                    self.begin += tls.read_tls(&mut rest)?;
                    tls.process_new_packets().map_err(tls_error)?;
                    continue;
                }
            }
            self.channel.socket.set_read_timeout(Some(left(deadline)?))?;
            // Both: when nothing comes, what was there before must not be taken for it.
            (self.begin, self.end) = (0, 0);
            self.end = match (&self.channel.socket).read(&mut self.cipher) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
                other => other?,
            };
        }
    }
}

/// Time that is over is no failure.
fn nothing_yet(error: io::Error) -> io::Result<Option<Frame>> {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Ok(None),
        _ => Err(error),
    }
}
