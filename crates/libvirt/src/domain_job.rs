use strongroom_types::Call;

use crate::disk_job::abandoning;
use crate::{LibvirtError, Machine};

/// Work on a machine as a whole: its memory is written somewhere.
impl Machine<'_> {
    /// Ends the work on a machine that nobody waits for any more: a save, a live snapshot, a migration, also one that was begun by a process
    /// that died. Where there is none, nothing happens. When this returns, the guest goes on here, or the work was done in that
    /// moment and the machine is gone: what it is, is [asked](Self::state) then.
    ///
    /// # Errors
    /// [`LibvirtError::NoDomain`], and as [`Connection::run`](crate::Connection::run).
    pub fn abandon_domain_job(&self, call: &Call) -> Result<(), LibvirtError> {
        while self.has_domain_job(call)? {
            // It may have ended by itself, and in its last moments it cannot be ended: it is looked again.
            let _looked_at_next = self.connection.run(call, &self.command("domjobabort"));
            self.pause(call, "domjobabort")?;
        }
        Ok(())
    }

    /// Whether its memory is written somewhere.
    fn has_domain_job(&self, call: &Call) -> Result<bool, LibvirtError> {
        let ask = self.command("domjobinfo");
        let printed = self.connection.run(call, &ask)?;
        let kind = printed.lines().find_map(|line| line.strip_prefix("Job type:"));
        kind.map(|kind| kind.trim() != "None")
            .ok_or_else(|| ask.unreadable("it does not say whether there is a job"))
    }

    /// Ends what was begun and is not waited for. Whether it was done after all, and the machine is gone from here.
    pub(crate) fn was_done_anyway(&self) -> bool {
        matches!(
            self.abandon_domain_job(&abandoning()),
            Err(LibvirtError::NoDomain { .. })
        )
    }
}
