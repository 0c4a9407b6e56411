use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use fuser::BackgroundSession;
use serde_json::json;
use tiny_http::{Header, Request, Response, Server};
use zeroize::Zeroizing;

use crate::storage::Storage;
use crate::{StorageError, api, exports};

/// No request has a longer body.
const LONGEST_BODY: u64 = 64 << 10;
/// How many requests are worked on at once.
const WORKERS: usize = 4;

/// The service, from [`Service::start`] until it is dropped. Keys are forgotten then; volumes stay.
pub struct Service {
    address: SocketAddr,
    exports: PathBuf,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    session: Option<BackgroundSession>,
}

struct Shared {
    server: Server,
    storage: Arc<Storage>,
    exports: PathBuf,
    faults: Faults,
}

/// What goes wrong next, for tests of clients.
#[derive(Debug, Default)]
struct Faults {
    lose: AtomicUsize,
    fail: AtomicUsize,
}

impl Faults {
    /// Whether it is this request's turn.
    fn strikes(left: &AtomicUsize) -> bool {
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
    }
}

impl Service {
    /// Serves the volumes in `directory`/volumes on this address, and shows hosts what is exported in `directory`/exports.
    /// Port 0 takes one that is free. The directory is made if it is not there.
    ///
    /// # Errors
    /// [`StorageError`], also when FUSE is not there: it takes `/dev/fuse` and root, or `fusermount3` (Debian: fuse3).
    pub fn start(directory: &Path, address: SocketAddr) -> Result<Self, StorageError> {
        let storage = Arc::new(Storage::open(&directory.join("volumes"))?);
        let exports = directory.join("exports");
        let session = exports::mount(Arc::clone(&storage), &exports)?;
        let server = Server::http(address)
            .map_err(|e| StorageError::io(format!("listen on {address}"))(io::Error::other(e)))?;
        let address = server.server_addr().to_ip().unwrap_or(address);
        let shared = Arc::new(Shared {
            server,
            storage,
            exports: exports.clone(),
            faults: Faults::default(),
        });
        let workers = (0..WORKERS)
            .map(|_| {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || shared.work())
            })
            .collect();
        Ok(Self {
            address,
            exports,
            shared,
            workers,
            session: Some(session),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The directory in which exported volumes appear.
    #[must_use]
    pub fn exports(&self) -> &Path {
        &self.exports
    }

    /// Does what the next so many requests ask for and never answers them: the connection is closed.
    pub fn lose_answers(&self, number: usize) {
        self.shared.faults.lose.store(number, Ordering::SeqCst);
    }

    /// Answers the next so many requests with 503 and does nothing.
    pub fn fail_requests(&self, number: usize) {
        self.shared.faults.fail.store(number, Ordering::SeqCst);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for _ in &self.workers {
            self.shared.server.unblock();
        }
        for worker in self.workers.drain(..) {
            // One that panicked is gone, too.
            let _ = worker.join();
        }
        if let Some(session) = self.session.take() {
            // A host that still has a volume open keeps the mount; the next start replaces it.
            let _ = session.umount_and_join();
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Until somebody unblocks the server.
    fn work(&self) {
        while let Ok(mut request) = self.server.recv() {
            let failing = Faults::strikes(&self.faults.fail);
            let (status, body) = if failing {
                (503, Some(json!({ "error": "failed", "message": "out of order" })))
            } else {
                self.answer(&mut request).unwrap_or_else(|e| {
                    let text = std::error::Error::source(&e)
                        .map_or_else(|| e.to_string(), |cause| format!("{e}: {cause}"));
                    (e.status(), Some(json!({ "error": e.word(), "message": text })))
                })
            };
            if !failing && Faults::strikes(&self.faults.lose) {
                drop(request.into_writer());
                continue;
            }
            let text = body.map_or_else(String::new, |b| b.to_string());
            let mut response = Response::from_string(text).with_status_code(status);
            if let Ok(json) = Header::from_bytes("Content-Type", "application/json") {
                response.add_header(json);
            }
            // A client that went away finds out by asking again.
            let _ = request.respond(response);
        }
    }

    fn answer(&self, request: &mut Request) -> Result<api::Answer, StorageError> {
        // As large as it can become, so that no copy is left behind by growing.
        let room = request.body_length().unwrap_or(0).min(LONGEST_BODY as usize);
        let mut body = Zeroizing::new(Vec::with_capacity(room + 1));
        let mut reader = request.as_reader().take(LONGEST_BODY + 1);
        reader
            .read_to_end(&mut body)
            .map_err(StorageError::io("read the request"))?;
        if body.len() as u64 > LONGEST_BODY {
            return Err(StorageError::Invalid("the body is too long".to_owned()));
        }
        let (method, url) = (request.method().clone(), request.url().to_owned());
        api::answer(&self.storage, &self.exports, &method, &url, &body)
    }
}
