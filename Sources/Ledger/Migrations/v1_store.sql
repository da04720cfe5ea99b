-- The first version of the store. Times are seconds since 1970; documents are JSON.

CREATE TABLE sweep (
  id      TEXT PRIMARY KEY NOT NULL,
  job     TEXT NOT NULL,
  plan    TEXT NOT NULL,
  fleet   TEXT NOT NULL,
  state   TEXT NOT NULL CHECK (state IN ('active', 'cancelling', 'done', 'cancelled')),
  created REAL NOT NULL,
  ended   REAL,
  verdict TEXT CHECK (verdict IN ('pass', 'fail', 'inconclusive')),
  report  TEXT,
  CHECK ((ended IS NULL) = (state IN ('active', 'cancelling')))
) STRICT;

CREATE TABLE run (
  sweep      TEXT NOT NULL REFERENCES sweep (id) ON DELETE CASCADE,
  name       TEXT NOT NULL,
  position   INTEGER NOT NULL,
  cell       TEXT NOT NULL,
  repetition INTEGER NOT NULL CHECK (repetition > 0),
  state      TEXT NOT NULL CHECK (state IN ('queued', 'launching', 'running', 'gathering', 'succeeded', 'failed',
               'timed-out', 'stalled', 'cancelled', 'lost')),
  why        TEXT,
  file_count INTEGER NOT NULL DEFAULT 0,
  byte_count INTEGER NOT NULL DEFAULT 0,
  missing    TEXT NOT NULL DEFAULT '[]',
  PRIMARY KEY (sweep, name)
) STRICT;

-- Written before the effect it allows ('launching') and after it.
CREATE TABLE attempt (
  id         TEXT PRIMARY KEY NOT NULL,
  sweep      TEXT NOT NULL,
  run        TEXT NOT NULL,
  number     INTEGER NOT NULL CHECK (number > 0),
  host       TEXT NOT NULL,
  token      TEXT NOT NULL,
  gpus       INTEGER NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('launching', 'running', 'exited', 'gathered', 'failed', 'lost')),
  directory  TEXT,
  exit_code  INTEGER,
  signal     INTEGER,
  reason     TEXT,
  why        TEXT,
  charged    INTEGER NOT NULL DEFAULT 1,
  created    REAL NOT NULL,
  heard      REAL NOT NULL,
  started    REAL,
  ended      REAL,
  facts      TEXT NOT NULL DEFAULT '{}',
  UNIQUE (sweep, run, number),
  FOREIGN KEY (sweep, run) REFERENCES run (sweep, name) ON DELETE CASCADE
) STRICT;

CREATE INDEX attempt_open ON attempt (sweep, state);

-- Who did what when; never changed.
CREATE TABLE event (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  at      REAL NOT NULL,
  sweep   TEXT NOT NULL,
  run     TEXT,
  attempt TEXT,
  kind    TEXT NOT NULL,
  detail  TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX event_sweep ON event (sweep, id);
