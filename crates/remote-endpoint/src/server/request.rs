use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostAnswer};
use strongroom_types::Call;
use zeroize::Zeroizing;

use super::{Counted, Shared};
use crate::channel::{Channel, lock};
use crate::frame::{ANSWER_LIMIT, Kind, Outcome, RequestHead, frame};
use crate::ledger::{Begin, ClientId, SharedFrame};
use crate::wire::answer::WireAnswer;
use crate::wire::command::WireCommand;
use crate::wire::error::WireError;

/// How often a client is told how far a command is.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

fn encoding(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What a client that asked for something not begun is told. No kept outcome: asking again is begun anew.
fn refusal(kind: ErrorKind, message: impl Into<String>) -> Outcome {
    Err(WireError::from(&EndpointError::new(kind, "request", message)))
}

/// A request that arrived: begun, answered, or refused.
pub(super) fn take(
    shared: &Arc<Shared>,
    id: &ClientId,
    channel: &Channel,
    content: Zeroizing<Vec<u8>>,
) -> io::Result<()> {
    let (head, command): (RequestHead<'_>, &[u8]) = postcard::take_from_bytes(&content).map_err(encoding)?;
    let fingerprint: [u8; 32] = Sha256::new()
        .chain_update(shared.salt)
        .chain_update(head.name)
        .chain_update([0])
        .chain_update(command)
        .finalize()
        .into();
    let begin = shared.ledger.begin(
        id,
        head.number,
        head.settled,
        fingerprint,
        head.cancel_when_lost,
        Instant::now(),
    );
    let refused = match begin {
        Begin::Running => return Ok(()),
        Begin::Answered(kept) => return channel.send(&kept),
        Begin::Run(cancellation) => {
            let mut call = Call::new().with_cancellation(cancellation);
            if let Some(milliseconds) = head.remaining {
                call = call.with_timeout(Duration::from_millis(milliseconds));
            }
            if shared.stop.is_cancelled() {
                call.cancellation().cancel();
            }
            return begun(shared, *id, head.number, call, content);
        }
        Begin::Forgotten => refusal(
            ErrorKind::Io,
            "what became of the request is not known: it was sent before the agent started, or its answer was kept too \
             long; the same command again finishes the work",
        ),
        Begin::Another => refusal(
            ErrorKind::InvalidRequest,
            "its number was that of another request",
        ),
        Begin::Full => refusal(
            ErrorKind::Busy,
            "so many commands run that none is begun; ask again later",
        ),
    };
    channel.send(&frame(Kind::Answer, &(head.number, refused)).map_err(encoding)?)
}

fn begun(
    shared: &Arc<Shared>,
    id: ClientId,
    number: u64,
    call: Call,
    content: Zeroizing<Vec<u8>>,
) -> io::Result<()> {
    let counted = Counted::of(shared.clone(), |shared| &shared.commands);
    let work = thread::Builder::new().name("agent-command".to_owned());
    let spawned = work.spawn(move || {
        let shared = &counted.shared;
        let call = call.with_progress(progress(shared.clone(), id, number));
        let outcome = carry_out(shared, &call, &content);
        drop(content);
        told(shared, &id, number, outcome);
    });
    if let Err(e) = spawned {
        tracing::warn!(error = %e, "no thread for a command");
        let outcome = refusal(
            ErrorKind::Busy,
            "the agent has no thread for the command; ask again later",
        );
        told(shared, &id, number, outcome);
    }
    Ok(())
}

fn told(shared: &Shared, id: &ClientId, number: u64, outcome: Outcome) {
    let encoded = frame(Kind::Answer, &(number, outcome)).ok();
    let fits = encoded.filter(|frame| frame.len() <= ANSWER_LIMIT);
    let frame = fits.map_or_else(
        || {
            let message = "it is done, and its answer is too long for the protocol";
            frame(Kind::Answer, &(number, refusal(ErrorKind::Unsupported, message)))
        },
        Ok,
    );
    let Ok(frame) = frame else { return };
    let frame: SharedFrame = Arc::new(frame);
    if let Some(channel) = shared.ledger.finish(id, number, frame.clone(), Instant::now())
        && let Err(e) = channel.send(&frame)
    {
        // The outcome is kept: the client asks for it by its next connection.
        tracing::info!(error = %e, "an answer waits for its client");
    }
}

fn carry_out(shared: &Shared, call: &Call, content: &[u8]) -> Outcome {
    let malformed = || refusal(ErrorKind::InvalidRequest, "the agent cannot read the command");
    let Ok((head, command)) = postcard::take_from_bytes::<RequestHead<'_>>(content) else {
        return malformed();
    };
    if !WireCommand::NAMES.contains(&head.name) {
        let message = format!(
            "this agent does not know the command {:?}; it is older than whoever asks",
            head.name
        );
        return refusal(ErrorKind::Unsupported, message);
    }
    // The error of the decoder is left out: it could tell of a key.
    let Ok(command) = crate::wire::decode::<WireCommand<'_>>(command) else {
        return malformed();
    };
    if command.name() != head.name {
        return malformed();
    }
    match command.with(|command| shared.endpoint.run(call, command)) {
        Ok(answer) => mirrored(answer),
        Err(e) => Err(WireError::from(&e)),
    }
}

fn mirrored(answer: HostAnswer) -> Outcome {
    match WireAnswer::of(answer) {
        Some(answer) => Ok(answer),
        None => refusal(
            ErrorKind::Unsupported,
            "it is done, and the protocol has no such answer",
        ),
    }
}

fn progress(shared: Arc<Shared>, id: ClientId, number: u64) -> strongroom_types::Progress {
    let last: Mutex<Option<Instant>> = Mutex::new(None);
    Arc::new(move |fraction| {
        {
            let mut last = lock(&last);
            if last.is_some_and(|at| at.elapsed() < PROGRESS_EVERY) {
                return;
            }
            *last = Some(Instant::now());
        }
        let frame = frame(Kind::Progress, &(number, fraction));
        if let (Ok(frame), Some(channel)) = (frame, shared.ledger.connection(&id)) {
            // Who does not get it misses nothing but this.
            let _ = channel.send(&frame);
        }
    })
}
