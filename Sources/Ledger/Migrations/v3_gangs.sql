-- An attempt of a gang over several hosts has one row a host. SQLite cannot change the old rule of one row a number.
CREATE TABLE attempt_of_gangs (
  id         TEXT PRIMARY KEY NOT NULL,
  sweep      TEXT NOT NULL,
  run        TEXT NOT NULL,
  number     INTEGER NOT NULL CHECK (number > 0),
  -- 0 is the host that the others connect to, and the only one of most attempts.
  node       INTEGER NOT NULL DEFAULT 0 CHECK (node >= 0),
  -- JSON; NULL: the attempt has one host.
  share      TEXT,
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
  fenced     INTEGER NOT NULL DEFAULT 1,
  UNIQUE (sweep, run, number, node),
  FOREIGN KEY (sweep, run) REFERENCES run (sweep, name) ON DELETE CASCADE
) STRICT;

INSERT INTO attempt_of_gangs (id, sweep, run, number, host, token, gpus, state, directory, exit_code, signal, reason,
  why, charged, created, heard, started, ended, facts, fenced)
SELECT id, sweep, run, number, host, token, gpus, state, directory, exit_code, signal, reason,
  why, charged, created, heard, started, ended, facts, fenced FROM attempt ORDER BY rowid;

DROP TABLE attempt;

ALTER TABLE attempt_of_gangs RENAME TO attempt;

CREATE INDEX attempt_open ON attempt (sweep, state);

CREATE INDEX attempt_unfenced ON attempt (host) WHERE fenced = 0;
