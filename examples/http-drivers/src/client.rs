use std::net::SocketAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use strongroom_storage_pool::{ErrorKind, PoolError};
use strongroom_types::{Call, Interrupted};
use ureq::Agent;
use ureq::http::{Method, Request};

use crate::body::Refusal;

/// How often one request is tried. Each can be repeated, so an answer that was lost costs one more question.
const ATTEMPTS: usize = 3;
/// How long one attempt may take when the call has no nearer deadline.
const PATIENCE: Duration = Duration::from_secs(30);

/// Speaks with the storage service.
#[derive(Debug)]
pub(crate) struct Client {
    base: String,
    agent: Agent,
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) operation: &'static str,
    pub(crate) method: &'a Method,
    /// Below `/v1/`. Names in it are ids, which need no escaping.
    pub(crate) path: &'a str,
    /// Its `Debug` would show a key.
    pub(crate) body: Body<'a>,
}

#[derive(Clone, Copy)]
pub(crate) struct Body<'a>(pub(crate) &'a [u8]);

impl std::fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Client {
    pub(crate) fn new(service: SocketAddr) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_idle_connections(0)
            .build();
        Self {
            base: format!("http://{service}/v1/"),
            agent: config.into(),
        }
    }

    /// Asks until there is an answer, the call is over, or it was tried often enough.
    pub(crate) fn ask<T: DeserializeOwned>(
        &self,
        call: &Call,
        question: &Question<'_>,
    ) -> Result<T, PoolError> {
        let (operation, url) = (question.operation, format!("{}{}", self.base, question.path));
        let mut attempt = 1;
        loop {
            call.check().map_err(|e| interrupted(operation, e))?;
            let patience = call.remaining().map_or(PATIENCE, |left| left.min(PATIENCE));
            match self.once(question, &url, patience) {
                Ok((503, _)) if attempt < ATTEMPTS => {}
                Ok((status, text)) => return understood(operation, &url, status, &text),
                Err(e) if attempt == ATTEMPTS => {
                    call.check().map_err(|e| interrupted(operation, e))?;
                    let message = format!("the storage service at {url} gave no answer {ATTEMPTS} times");
                    return Err(PoolError::new(ErrorKind::Io, operation, message).with_source(e));
                }
                Err(_) => {}
            }
            attempt += 1;
        }
    }

    fn once(
        &self,
        question: &Question<'_>,
        url: &str,
        patience: Duration,
    ) -> Result<(u16, Vec<u8>), ureq::Error> {
        let request = Request::builder()
            .method(question.method)
            .uri(url)
            .header("connection", "close")
            .body(question.body.0)?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(Some(patience))
            .allow_non_standard_methods(true)
            .build();
        let mut response = self.agent.run(request)?;
        let status = response.status().as_u16();
        Ok((status, response.body_mut().read_to_vec()?))
    }
}

fn understood<T: DeserializeOwned>(
    operation: &'static str,
    url: &str,
    status: u16,
    text: &[u8],
) -> Result<T, PoolError> {
    if (200..300).contains(&status) {
        // No body is what `null` says.
        let text = if text.is_empty() { b"null" } else { text };
        return serde_json::from_slice(text).map_err(|e| {
            let message = format!("the answer to {url} does not read");
            PoolError::new(ErrorKind::Tool, operation, message).with_source(e)
        });
    }
    let refusal = serde_json::from_slice(text).unwrap_or_else(|_| Refusal {
        error: "unknown".to_owned(),
        message: format!("status {status}"),
    });
    let kind = match refusal.error.as_str() {
        "not-found" => ErrorKind::NotFound,
        "conflict" => ErrorKind::AlreadyExists,
        "busy" => ErrorKind::Busy,
        "wrong-key" => ErrorKind::WrongKey,
        "locked" => ErrorKind::PermissionDenied,
        "invalid" => ErrorKind::InvalidRequest,
        "full" => ErrorKind::NoSpace,
        "damaged" => ErrorKind::WrongDisk,
        _ => ErrorKind::Io,
    };
    let message = format!("the storage service answers to {url}: {}", refusal.message);
    Err(PoolError::new(kind, operation, message))
}

fn interrupted(operation: &'static str, why: Interrupted) -> PoolError {
    let kind = match why {
        Interrupted::Cancelled => ErrorKind::Cancelled,
        Interrupted::Deadline => ErrorKind::Deadline,
    };
    PoolError::new(
        kind,
        operation,
        "the call ended before the storage service answered",
    )
}
