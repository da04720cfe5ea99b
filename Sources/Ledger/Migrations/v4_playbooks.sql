-- A playbook that was started, and its steps: the experiment is written before its sweep, the outcome after it.
CREATE TABLE playbook (
  id         TEXT PRIMARY KEY NOT NULL,
  name       TEXT NOT NULL,
  job        TEXT NOT NULL,
  path       TEXT NOT NULL,
  text       TEXT NOT NULL,
  -- Commits that were found when it began, a JSON list.
  commits    TEXT NOT NULL DEFAULT '[]',
  fleet      TEXT NOT NULL,
  created    REAL NOT NULL,
  ended      REAL,
  conclusion TEXT,
  CHECK ((ended IS NULL) = (conclusion IS NULL))
) STRICT;

CREATE TABLE step (
  playbook   TEXT NOT NULL REFERENCES playbook (id) ON DELETE CASCADE,
  number     INTEGER NOT NULL CHECK (number > 0),
  experiment TEXT NOT NULL,
  sweep      TEXT NOT NULL UNIQUE,
  outcome    TEXT,
  PRIMARY KEY (playbook, number)
) STRICT;
