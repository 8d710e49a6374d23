-- What a room's history is made of. A log is a row of `rooms`; the tables of it name it by that row's id, which is shorter
-- than agent and room in every index. Room order is (timestamp, digest), the same on every host.
ALTER TABLE rooms ADD COLUMN retention TEXT NOT NULL DEFAULT 'archival';
ALTER TABLE rooms ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE rooms ADD COLUMN mirror INTEGER NOT NULL DEFAULT 0 CHECK (mirror IN (0, 1));
ALTER TABLE rooms ADD COLUMN horizon INTEGER NOT NULL DEFAULT 0;   -- nothing dated before it is kept
ALTER TABLE rooms ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;     -- of `signed` of all its messages
ALTER TABLE rooms ADD COLUMN head BLOB NOT NULL DEFAULT x'';       -- CID of the newest checkpoint
-- from here on `messages` counts what history shows

INSERT OR IGNORE INTO rooms (agent, room) SELECT DISTINCT agent, room FROM room_messages;

DROP INDEX room_messages_by_id;
DROP INDEX room_messages_by_room;
ALTER TABLE room_messages RENAME TO room_messages_3;

CREATE TABLE room_messages (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    log INTEGER NOT NULL,         -- rooms.id
    kind TEXT NOT NULL CHECK (kind IN ('chat', 'edit', 'retract', 'meta')),
    leads INTEGER NOT NULL CHECK (leads IN (0, 1)), -- the lowest digest of its sender and id: the others are kept, not shown
    message_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    timestamp INTEGER NOT NULL,   -- the sender's word
    received_at INTEGER NOT NULL,
    content TEXT NOT NULL,        -- as signed; of an edit, the new text
    format TEXT NOT NULL,
    reply_to TEXT NOT NULL DEFAULT '',
    thread_id TEXT NOT NULL DEFAULT '',
    refs TEXT NOT NULL DEFAULT '[]', -- JSON array of text
    target TEXT NOT NULL DEFAULT '', -- the id of the message, by the same sender, that it edits or retracts
    digest BLOB NOT NULL,         -- SHA-256 of `signed`
    signed BLOB NOT NULL          -- canonical protobuf; last, so that reading the rest leaves its pages alone
) STRICT;

INSERT INTO room_messages (position, log, kind, leads, message_id, sender, timestamp, received_at, content, format,
        reply_to, thread_id, refs, digest, signed)
    SELECT position, rooms.id, 'chat', 1, message_id, sender, timestamp, received_at, content, format,
        reply_to, thread_id, refs, digest, signed
    FROM room_messages_3 AS old CROSS JOIN rooms ON rooms.agent = old.agent AND rooms.room = old.room
    ORDER BY position;
DROP TABLE room_messages_3;

CREATE UNIQUE INDEX room_messages_leading ON room_messages (log, message_id, sender) WHERE leads = 1;
CREATE INDEX room_messages_following ON room_messages (log, message_id, sender, digest) WHERE leads = 0;
CREATE INDEX room_messages_by_target ON room_messages (log, target, sender, kind, timestamp, digest)
    WHERE leads = 1 AND target <> '';
CREATE INDEX room_messages_by_sender ON room_messages (log, sender, timestamp, digest) WHERE leads = 1 AND kind = 'chat';
CREATE INDEX room_messages_by_thread ON room_messages (log, thread_id, timestamp, digest)
    WHERE leads = 1 AND kind = 'chat' AND thread_id <> '';

-- All that is known of a room, in room order: its messages, and tombstones (position 0) of what was refused or removed.
CREATE TABLE room_items (
    log INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    digest BLOB NOT NULL,
    position INTEGER NOT NULL,    -- in room_messages; 0: a tombstone
    shown INTEGER NOT NULL CHECK (shown IN (0, 1)), -- history shows it: a chat message that leads
    reason TEXT NOT NULL DEFAULT '',  -- of a tombstone
    buried_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (log, timestamp, digest)
) STRICT, WITHOUT ROWID;
INSERT INTO room_items (log, timestamp, digest, position, shown)
    SELECT log, timestamp, digest, position, 1 FROM room_messages ORDER BY log, timestamp, digest;

-- Sums over room_items: a span goes from its start up to the next one's. The first starts at (0, x'').
CREATE TABLE room_spans (
    log INTEGER NOT NULL,
    timestamp INTEGER NOT NULL,
    digest BLOB NOT NULL,
    count INTEGER NOT NULL,
    sum BLOB NOT NULL,            -- of the digests, as big-endian integers, modulo 2^256: 32 bytes
    PRIMARY KEY (log, timestamp, digest)
) STRICT, WITHOUT ROWID;

-- The hours (unix time / 3,600,000 ms) in which something is held; their batches are to be made anew where the numbers differ.
CREATE TABLE room_hours (
    log INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    changes INTEGER NOT NULL,
    sealed INTEGER NOT NULL DEFAULT 0, -- `changes` as it was when the batches were made
    PRIMARY KEY (log, hour)
) STRICT, WITHOUT ROWID;
INSERT INTO room_hours (log, hour, changes)
    SELECT log, timestamp / 3600000, 1 FROM room_items GROUP BY 1, 2 ORDER BY 1, 2;
CREATE INDEX room_hours_unsealed ON room_hours (log, hour) WHERE sealed <> changes;

CREATE TABLE room_batches (
    log INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    part INTEGER NOT NULL,
    cid BLOB NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (log, hour, part)
) STRICT, WITHOUT ROWID;

CREATE TABLE room_days (
    log INTEGER NOT NULL,
    day INTEGER NOT NULL,         -- unix time / 86,400,000 ms
    cid BLOB NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (log, day)
) STRICT, WITHOUT ROWID;

-- By position, for each message: the words of what history shows of it (edited text in the place of the old, and nothing
-- of what was retracted or does not lead), a word for its log, so that a search reads nothing of other rooms, and the first
-- half of its digest in hex. Digests come in no order: an ordinary index of them writes a page for every message, and this
-- one, which merges sorted runs, a fortieth.
CREATE VIRTUAL TABLE room_words USING fts5 (
    log, digest, content, content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 2'
);
INSERT INTO room_words (rowid, log, digest, content)
    SELECT position, 'log' || log, lower(hex(substr(digest, 1, 8))), content FROM room_messages ORDER BY position;

UPDATE rooms SET bytes = found.bytes
    FROM (SELECT log, sum(length(signed)) AS bytes FROM room_messages GROUP BY log) AS found WHERE found.log = rooms.id;
