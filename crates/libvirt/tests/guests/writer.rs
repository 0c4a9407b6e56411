use std::time::Duration;

use strongroom_lab::Console;

/// A guest's program that writes to a disk all the time, 256 blocks over and over from 16 MiB on, and knows what has to be there.
pub(crate) struct Writer {
    disk: String,
}

/// What every block begins with that it writes.
pub(crate) const CANARY: &str = "WRITTEN-ALL-THE-TIME";

impl Writer {
    pub(crate) fn start(guest: &mut Console, disk: &str) -> Self {
        let shadow = format!("/tmp/shadow-{disk}");
        let script = format!(
            "i=0; while [ ! -e /tmp/stop-{disk} ]; do i=$((i+1)); b=$((i%256)); yes {CANARY}-$i | head -c 4096 >/tmp/w-{disk}; \
             dd if=/tmp/w-{disk} of={shadow} bs=4096 seek=$b conv=notrunc 2>/dev/null; \
             dd if=/tmp/w-{disk} of=/dev/{disk} bs=4096 seek=$((4096+b)) conv=notrunc,fsync 2>/dev/null || echo $i >>/tmp/failed-{disk}; \
             echo $i >/tmp/count-{disk}; done; echo $i >/tmp/stopped-{disk}"
        );
        let begin = format!(
            "set -e; [ -b /dev/{disk} ]; rm -f /tmp/stop-{disk} /tmp/stopped-{disk} /tmp/failed-{disk}; \
             dd if=/dev/zero of={shadow} bs=4096 count=256 2>/dev/null; \
             dd if={shadow} of=/dev/{disk} bs=4096 seek=4096 conv=notrunc,fsync 2>/dev/null; echo 0 >/tmp/count-{disk}; ({script}) &"
        );
        guest.output(&begin).unwrap();
        let writer = Self {
            disk: disk.to_owned(),
        };
        writer.goes_on(guest);
        writer
    }

    /// Returns when it has written once more.
    pub(crate) fn goes_on(&self, guest: &mut Console) {
        let disk = &self.disk;
        let wait = format!(
            "now=$(cat /tmp/count-{disk}); until [ \"$(cat /tmp/count-{disk})\" != \"$now\" ]; do sleep 0.05; done"
        );
        assert_eq!(guest.run(&wait, Duration::from_secs(60)).unwrap().code, 0);
    }

    /// Ends it; every block is what was written last.
    pub(crate) fn finish(self, guest: &mut Console) {
        self.goes_on(guest);
        let disk = &self.disk;
        let end = format!(
            "touch /tmp/stop-{disk}; until [ -e /tmp/stopped-{disk} ]; do sleep 0.05; done; echo 3 >/proc/sys/vm/drop_caches; \
             [ ! -e /tmp/failed-{disk} ] && dd if=/dev/{disk} bs=4096 skip=4096 count=256 2>/dev/null | cmp - /tmp/shadow-{disk}"
        );
        let compared = guest.run(&end, Duration::from_secs(60)).unwrap();
        assert_eq!(compared.code, 0, "{}", compared.output);
    }
}
