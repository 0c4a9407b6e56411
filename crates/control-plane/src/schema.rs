//! The tables of the control plane, in the database of the passphrase store.

/// The name under which the version of these tables is kept.
pub(crate) const COMPONENT: &str = "control-plane";

/// Steps are only ever added.
///
/// A volume is encrypted exactly when it has a passphrase, and then its LUKS is known: one check in the table, from the moment
/// of allocation on. There is no column for the state of a volume: a volume that has a job is in the state that the job says,
/// and one that has none is ready. A volume has at most one job.
pub(crate) const STEPS: [&str; 2] = [
    "
    CREATE TABLE hosts (
        id TEXT PRIMARY KEY,
        facts TEXT NOT NULL
    ) STRICT;
    CREATE TABLE offerings (
        id TEXT PRIMARY KEY,
        encrypt INTEGER NOT NULL CHECK (encrypt IN (0, 1)),
        format TEXT NOT NULL,
        description TEXT NOT NULL
    ) STRICT;
    CREATE TABLE pools (
        id TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        settings TEXT NOT NULL
    ) STRICT;
    CREATE TABLE volumes (
        id TEXT PRIMARY KEY,
        offering TEXT NOT NULL REFERENCES offerings (id) ON DELETE RESTRICT,
        pool TEXT NOT NULL REFERENCES pools (id) ON DELETE RESTRICT,
        format TEXT NOT NULL,
        guest INTEGER NOT NULL CHECK (guest > 0 AND guest % 512 = 0),
        device INTEGER CHECK (device > 0 AND device % 512 = 0),
        encryption TEXT,
        passphrase TEXT UNIQUE REFERENCES passphrases (id) ON DELETE RESTRICT,
        CHECK ((encryption IS NULL) = (passphrase IS NULL))
    ) STRICT;
    CREATE TABLE snapshots (
        volume TEXT NOT NULL REFERENCES volumes (id) ON DELETE RESTRICT,
        id TEXT NOT NULL,
        guest INTEGER NOT NULL CHECK (guest > 0 AND guest % 512 = 0),
        passphrase TEXT REFERENCES passphrases (id) ON DELETE RESTRICT,
        PRIMARY KEY (volume, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE header_backups (
        host TEXT NOT NULL,
        path BLOB NOT NULL,
        volume TEXT NOT NULL REFERENCES volumes (id) ON DELETE RESTRICT,
        passphrase TEXT NOT NULL REFERENCES passphrases (id) ON DELETE RESTRICT,
        PRIMARY KEY (host, path)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE attachments (
        volume TEXT NOT NULL REFERENCES volumes (id) ON DELETE RESTRICT,
        host TEXT NOT NULL,
        PRIMARY KEY (volume, host)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY,
        volume TEXT NOT NULL UNIQUE REFERENCES volumes (id) ON DELETE RESTRICT,
        kind TEXT NOT NULL,
        step TEXT NOT NULL,
        arguments TEXT NOT NULL,
        begun INTEGER NOT NULL,
        failure TEXT
    ) STRICT;
    CREATE INDEX snapshots_by_passphrase ON snapshots (passphrase);
    CREATE INDEX header_backups_by_volume ON header_backups (volume);
",
    // What a delete destroyed and left so far.
    "ALTER TABLE jobs ADD COLUMN erasure TEXT;",
];
