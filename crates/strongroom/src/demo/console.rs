//! The guest's first serial port, on a unix socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use strongroom_types::Call;

/// How long the guest is listened to before it is spoken to again: it hears nothing before it is up.
const PAUSE: Duration = Duration::from_millis(200);

/// What a guest says at most, so that one that floods the console ends the demo.
const MOST: usize = 1 << 20;

/// Wakes the guest and listens until it has said a line with this beginning. The answer is all that it said until then, by lines.
pub(crate) fn listen(socket: &Path, until: &str, call: &Call) -> Result<Vec<String>> {
    let mut console = UnixStream::connect(socket)
        .with_context(|| format!("cannot reach the guest's console {}", socket.display()))?;
    console.set_read_timeout(Some(PAUSE))?;
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        call.check()
            .with_context(|| format!("the guest did not say {until:?}; it said {:?}", text(&heard)))?;
        match console.read(&mut buffer) {
            Ok(0) => bail!("the guest went down; it said {:?}", text(&heard)),
            Ok(n) => heard.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                console
                    .write_all(b"\n")
                    .context("the guest's console is closed")?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).context("cannot listen to the guest"),
        }
        if heard.len() > MOST {
            bail!("the guest said more than {MOST} bytes");
        }
        let said = text(&heard);
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if let Some(failed) = whole.lines().find(|line| line.starts_with("strongroom failed")) {
            bail!("{failed}");
        }
        if whole.lines().any(|line| line.starts_with(until)) {
            return Ok(whole.lines().map(str::to_owned).collect());
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn guest(says: &'static str) -> Result<Vec<String>> {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("console");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (mut port, _) = listener.accept().unwrap();
                // It says nothing before it was woken.
                port.read_exact(&mut [0]).unwrap();
                port.write_all(says.as_bytes()).unwrap();
            });
            listen(&socket, "strongroom mark", &Call::new())
        })
    }

    #[test]
    fn a_guest_is_woken_and_heard_to_the_end_of_its_line() {
        let said = guest("boot\r\nstrongroom files 3\r\nstrongroom mark abc\r\nmore").unwrap();
        assert_eq!(said, ["boot", "strongroom files 3", "strongroom mark abc"]);
    }

    #[test]
    fn what_went_wrong_in_the_guest_is_the_error() {
        let failed = guest("strongroom failed: no root\r\n").unwrap_err().to_string();
        assert_eq!(failed, "strongroom failed: no root");
        let gone = guest("strongroom mark ab").unwrap_err().to_string();
        assert!(gone.contains("went down") && gone.contains("mark ab"), "{gone}");
    }
}
