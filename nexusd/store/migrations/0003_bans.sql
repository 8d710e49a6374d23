-- Peers that are refused for a time, and those whose ban has ended and who would be refused for longer the next time.
-- The node's, not an agent's. Blocks, which have no end, are in `blocks`.
CREATE TABLE bans (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    peer TEXT NOT NULL,
    reason TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    times INTEGER NOT NULL,       -- this one included
    by_hand INTEGER NOT NULL DEFAULT 0 CHECK (by_hand IN (0, 1))
) STRICT;
CREATE UNIQUE INDEX bans_by_peer ON bans (peer);
