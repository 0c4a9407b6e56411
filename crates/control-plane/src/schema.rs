//! The tables of the control plane, in the database of the passphrase store.

/// The name under which the version of these tables is kept.
pub(crate) const COMPONENT: &str = "control-plane";

/// Steps are only ever added.
///
/// A volume is encrypted exactly when it has a passphrase, and then its LUKS is known: one check in the table, from the moment
/// of allocation on. There is no column for the state of a volume: a volume that has a job is in the state that the job says,
/// and one that has none is ready. A volume has at most one job.
pub(crate) const STEPS: [&str; 5] = [
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
    // A volume's disk has a name of its own in its pool, two volumes may share a key if that is recorded, volumes lie on
    // templates. SQLite changes no constraint of a table that is there: the tables are made anew.
    "
    CREATE TABLE templates (
        id TEXT PRIMARY KEY,
        path BLOB NOT NULL,
        format TEXT NOT NULL,
        size INTEGER NOT NULL CHECK (size > 0 AND size % 512 = 0),
        sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
        removing INTEGER NOT NULL DEFAULT 0 CHECK (removing IN (0, 1))
    ) STRICT;
    CREATE TABLE template_copies (
        template TEXT NOT NULL REFERENCES templates (id) ON DELETE RESTRICT,
        pool TEXT NOT NULL REFERENCES pools (id) ON DELETE RESTRICT,
        PRIMARY KEY (template, pool)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE exports (
        id TEXT PRIMARY KEY,
        volume TEXT NOT NULL,
        host TEXT NOT NULL,
        path BLOB NOT NULL,
        format TEXT NOT NULL,
        encrypted INTEGER NOT NULL CHECK (encrypted IN (0, 1)),
        reason TEXT,
        begun INTEGER NOT NULL,
        made INTEGER NOT NULL CHECK (made IN (0, 1)),
        volume_gone INTEGER NOT NULL DEFAULT 0 CHECK (volume_gone IN (0, 1)),
        CHECK (reason IS NULL OR encrypted = 0)
    ) STRICT;
    CREATE INDEX exports_by_volume ON exports (volume);
    ALTER TABLE pools ADD COLUMN prepared INTEGER NOT NULL DEFAULT 0 CHECK (prepared IN (0, 1));

    CREATE TABLE volumes_3 (
        id TEXT PRIMARY KEY,
        offering TEXT NOT NULL REFERENCES offerings (id) ON DELETE RESTRICT,
        pool TEXT NOT NULL REFERENCES pools (id) ON DELETE RESTRICT,
        disk TEXT NOT NULL,
        format TEXT NOT NULL,
        guest INTEGER NOT NULL CHECK (guest > 0 AND guest % 512 = 0),
        device INTEGER CHECK (device > 0 AND device % 512 = 0),
        encryption TEXT,
        passphrase TEXT REFERENCES passphrases (id) ON DELETE RESTRICT,
        shares_key_with TEXT,
        template TEXT REFERENCES templates (id) ON DELETE RESTRICT,
        disk_of TEXT,
        UNIQUE (pool, disk),
        CHECK ((encryption IS NULL) = (passphrase IS NULL)),
        CHECK (shares_key_with IS NULL OR passphrase IS NOT NULL)
    ) STRICT;
    CREATE TABLE snapshots_3 (
        volume TEXT NOT NULL REFERENCES volumes_3 (id) ON DELETE RESTRICT,
        id TEXT NOT NULL,
        guest INTEGER NOT NULL CHECK (guest > 0 AND guest % 512 = 0),
        passphrase TEXT REFERENCES passphrases (id) ON DELETE RESTRICT,
        PRIMARY KEY (volume, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE header_backups_3 (
        host TEXT NOT NULL,
        path BLOB NOT NULL,
        volume TEXT NOT NULL REFERENCES volumes_3 (id) ON DELETE RESTRICT,
        passphrase TEXT NOT NULL REFERENCES passphrases (id) ON DELETE RESTRICT,
        PRIMARY KEY (host, path)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE attachments_3 (
        volume TEXT NOT NULL REFERENCES volumes_3 (id) ON DELETE RESTRICT,
        host TEXT NOT NULL,
        PRIMARY KEY (volume, host)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE jobs_3 (
        id TEXT PRIMARY KEY,
        volume TEXT NOT NULL UNIQUE REFERENCES volumes_3 (id) ON DELETE RESTRICT,
        kind TEXT NOT NULL,
        step TEXT NOT NULL,
        arguments TEXT NOT NULL,
        begun INTEGER NOT NULL,
        failure TEXT,
        erasure TEXT,
        template TEXT REFERENCES templates (id) ON DELETE RESTRICT
    ) STRICT;
    INSERT INTO volumes_3 (id, offering, pool, disk, format, guest, device, encryption, passphrase)
        SELECT id, offering, pool, id, format, guest, device, encryption, passphrase FROM volumes;
    INSERT INTO snapshots_3 SELECT volume, id, guest, passphrase FROM snapshots;
    INSERT INTO header_backups_3 SELECT host, path, volume, passphrase FROM header_backups;
    INSERT INTO attachments_3 SELECT volume, host FROM attachments;
    INSERT INTO jobs_3 (id, volume, kind, step, arguments, begun, failure, erasure)
        SELECT id, volume, kind, step, arguments, begun, failure, erasure FROM jobs;
    DROP TABLE jobs;
    DROP TABLE attachments;
    DROP TABLE header_backups;
    DROP TABLE snapshots;
    DROP TABLE volumes;
    ALTER TABLE volumes_3 RENAME TO volumes;
    ALTER TABLE snapshots_3 RENAME TO snapshots;
    ALTER TABLE header_backups_3 RENAME TO header_backups;
    ALTER TABLE attachments_3 RENAME TO attachments;
    ALTER TABLE jobs_3 RENAME TO jobs;
    CREATE UNIQUE INDEX one_volume_owns_a_key ON volumes (passphrase) WHERE shares_key_with IS NULL;
    CREATE INDEX volumes_by_passphrase ON volumes (passphrase);
    CREATE INDEX volumes_by_template ON volumes (template);
    CREATE INDEX jobs_by_template ON jobs (template);
    CREATE INDEX snapshots_by_passphrase ON snapshots (passphrase);
    CREATE INDEX header_backups_by_volume ON header_backups (volume);
",
    // Which file a template's image was when it was read. The installation has a name, and every pool is marked with it once more.
    "
    ALTER TABLE templates ADD COLUMN stamp TEXT;
    CREATE TABLE installation (
        id TEXT NOT NULL,
        one INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1)
    ) STRICT;
    INSERT INTO installation (id) VALUES (lower(hex(randomblob(16))));
    UPDATE pools SET prepared = 0;
",
    // Virtual machines: one with a host runs there, or a job is about that. A volume is a disk of one of them at most.
    "
    CREATE TABLE vms (
        id TEXT PRIMARY KEY,
        memory INTEGER NOT NULL CHECK (memory > 0),
        cores INTEGER NOT NULL CHECK (cores > 0),
        boot TEXT NOT NULL,
        console TEXT,
        host TEXT
    ) STRICT;
    CREATE TABLE vm_disks (
        vm TEXT NOT NULL REFERENCES vms (id) ON DELETE RESTRICT,
        target TEXT NOT NULL,
        volume TEXT NOT NULL UNIQUE REFERENCES volumes (id) ON DELETE RESTRICT,
        read_only INTEGER NOT NULL CHECK (read_only IN (0, 1)),
        PRIMARY KEY (vm, target)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE vm_jobs (
        id TEXT PRIMARY KEY,
        vm TEXT NOT NULL UNIQUE REFERENCES vms (id) ON DELETE RESTRICT,
        kind TEXT NOT NULL,
        arguments TEXT NOT NULL,
        begun INTEGER NOT NULL,
        failure TEXT
    ) STRICT;
",
];
