-- Seconds for which an open attempt's host was asked in vain since it last answered: what counts towards `lost_after` goes
-- on with the next coordinator.
ALTER TABLE attempt ADD COLUMN unheard REAL NOT NULL DEFAULT 0;
