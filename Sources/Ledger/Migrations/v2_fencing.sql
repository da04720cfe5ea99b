-- 0: an attempt that is over for us, but of which something may still live at its host.
ALTER TABLE attempt ADD COLUMN fenced INTEGER NOT NULL DEFAULT 1;

CREATE INDEX attempt_unfenced ON attempt (host) WHERE fenced = 0;
