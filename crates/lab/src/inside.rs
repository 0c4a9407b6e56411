use std::cell::Cell;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::boot::boot;
use crate::verdict::PASSED;
use crate::{Guest, GuestError};

/// How the kernel's command line names the test. No other machine has it, so no test takes a disk of a real one for its own.
pub(crate) const MARK: &str = "lab.test=";

/// The pipe to the guest's first process.
const END: &str = "/lab/end";

thread_local! {
    /// Whether this test booted a guest already.
    static BOOTED: Cell<bool> = const { Cell::new(false) };
}

impl Guest {
    /// Boots the guest and runs the closure in it, as root.
    ///
    /// A test boots one guest. The guest runs the same test program, only this test of it, up to this call: whatever the test does before runs on
    /// both machines, and whatever it does after only on the first. There the call returns when the guest is switched
    /// off, and nothing of it is left. The closure gets no value from outside and gives none back: it has the arguments that the
    /// test itself could have.
    ///
    /// # Errors
    /// [`GuestError::Failed`] when the closure panics, with what it printed; [`GuestError::Hung`] when the time is over;
    /// [`GuestError::Down`] when the guest's kernel panics or meets an oops; others when the guest cannot be booted.
    pub fn run(&self, test: impl FnOnce()) -> Result<(), GuestError> {
        if is_guest() {
            test();
            let _ = std::io::stdout().flush();
            let _ = fs::write(END, format!("exit {PASSED}\n"));
            std::process::exit(PASSED);
        }
        // The Rust test harness names the thread for the test.
        let thread = std::thread::current();
        let name = match thread.name() {
            None | Some("main") => return Err(GuestError::NoTest),
            Some(name) => name,
        };
        // In the guest of a second call the closure of the first one would run.
        if BOOTED.replace(true) {
            return Err(GuestError::Twice);
        }
        boot(self, name)
    }
}

/// Boots a guest, runs the closure in it and fails the test when that fails: [`Guest::run`] with a panic for its error.
///
/// # Panics
/// When the closure panics in the guest, or there is no guest; with all that is known.
#[track_caller]
#[expect(clippy::panic, reason = "a test that fails in the guest has to fail here")]
pub fn in_guest(guest: &Guest, test: impl FnOnce()) {
    if let Err(error) = guest.run(test) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(deeper) = cause {
            text.push_str(&format!(": {deeper}"));
            cause = deeper.source();
        }
        panic!("{text}");
    }
}

/// The path of the disk with this serial number, in the guest.
#[must_use]
pub fn disk(serial: &str) -> PathBuf {
    Path::new("/dev/disk/by-id").join(format!("virtio-{serial}"))
}

/// Whether this process runs in a guest of the lab.
#[must_use]
pub fn is_guest() -> bool {
    fs::read_to_string("/proc/cmdline")
        .is_ok_and(|line| line.split_whitespace().any(|word| word.starts_with(MARK)))
}
