-- What `serve` keeps: schedules and their times, golden baselines, notices. Times are seconds since 1970.

CREATE TABLE schedule (
  -- The job's name.
  name            TEXT PRIMARY KEY NOT NULL,
  -- Of the job file, which is read anew for each sweep; and of the fleet file.
  path            TEXT NOT NULL,
  fleet           TEXT,
  enabled         INTEGER NOT NULL DEFAULT 1,
  -- Of all nominal times up to here it is decided what becomes of them.
  decided_through REAL NOT NULL,
  -- All alarms for reports that did not come are raised up to here.
  alarmed_through REAL NOT NULL,
  added           REAL NOT NULL
) STRICT;

-- One row for each nominal time, or for a range of them that is skipped for one reason.
CREATE TABLE firing (
  schedule TEXT NOT NULL REFERENCES schedule (name) ON DELETE CASCADE,
  nominal  REAL NOT NULL,
  last     REAL NOT NULL,
  count    INTEGER NOT NULL DEFAULT 1 CHECK (count > 0),
  -- Asked for by a person; the nominal time is when.
  manual   INTEGER NOT NULL DEFAULT 0,
  state    TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'skipped', 'failed')),
  why      TEXT,
  sweep    TEXT REFERENCES sweep (id) ON DELETE SET NULL,
  PRIMARY KEY (schedule, nominal)
) STRICT;

CREATE INDEX firing_open ON firing (schedule, state);

CREATE INDEX sweep_job ON sweep (job, created);

-- Measures of past sweeps, small: for each pair and stage 28 bytes a layer, little-endian 32-bit words: the layer (-1: of
-- no layer), its verdict (0 pass, 1 inconclusive, 2 fail), and as floats cos, rel, relative L2, alpha, floor.
CREATE TABLE series (
  sweep   TEXT NOT NULL,
  job     TEXT NOT NULL,
  created REAL NOT NULL,
  pair    TEXT NOT NULL,
  stage   TEXT NOT NULL,
  points  BLOB NOT NULL,
  PRIMARY KEY (sweep, pair, stage)
) STRICT, WITHOUT ROWID;

CREATE INDEX series_job ON series (job, created);

-- The newest row of a job is its baseline; older ones tell what it was.
CREATE TABLE golden (
  job   TEXT NOT NULL,
  at    REAL NOT NULL,
  sweep TEXT NOT NULL REFERENCES sweep (id),
  who   TEXT NOT NULL,
  why   TEXT NOT NULL,
  PRIMARY KEY (job, at)
) STRICT;

-- What is to be told, until it has been told.
CREATE TABLE notice (
  -- Given to the receiver, who may get one notice twice.
  id       TEXT PRIMARY KEY NOT NULL,
  sweep    TEXT,
  job      TEXT NOT NULL,
  -- JSON: where to, as the job file says it; secrets are named there, not held.
  target   TEXT NOT NULL,
  -- JSON.
  payload  TEXT NOT NULL,
  created  REAL NOT NULL,
  tries    INTEGER NOT NULL DEFAULT 0,
  next_try REAL NOT NULL,
  sent     REAL,
  -- Given up.
  failed   REAL,
  error    TEXT
) STRICT;

CREATE INDEX notice_open ON notice (next_try) WHERE sent IS NULL AND failed IS NULL;
