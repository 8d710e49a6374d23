-- Version 1. Keys are AUTOINCREMENT, so that a position or cursor is never given twice, not even after a deletion.
-- Times are unix milliseconds. Absent text is ''. Only what a paging query or a uniqueness rule needs has an index;
-- every index ends in the rowid, so one on (agent, room) also gives the rows of a room in their order.

CREATE TABLE settings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL DEFAULT '', -- '': the node's own
    key TEXT NOT NULL,
    value TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX settings_by_key ON settings (agent, key);

-- A row for every room that was ever joined or written to; leaving keeps the history and its count.
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    room TEXT NOT NULL,
    joined INTEGER NOT NULL DEFAULT 0 CHECK (joined IN (0, 1)),
    joined_at INTEGER NOT NULL DEFAULT 0,
    messages INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX rooms_by_name ON rooms (agent, room);

CREATE TABLE room_messages (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    room TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    timestamp INTEGER NOT NULL,   -- the sender's word
    received_at INTEGER NOT NULL,
    content TEXT NOT NULL,
    format TEXT NOT NULL,
    reply_to TEXT NOT NULL DEFAULT '',
    thread_id TEXT NOT NULL DEFAULT '',
    refs TEXT NOT NULL DEFAULT '[]', -- JSON array of text
    digest BLOB NOT NULL,         -- SHA-256 of `signed`
    signed BLOB NOT NULL          -- canonical protobuf; last, so that reading the rest leaves its pages alone
) STRICT;
CREATE UNIQUE INDEX room_messages_by_id ON room_messages (agent, room, sender, message_id);
CREATE INDEX room_messages_by_room ON room_messages (agent, room);

CREATE TABLE direct_messages (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    peer TEXT NOT NULL,           -- the other end of the conversation
    direction TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    message_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    content TEXT NOT NULL,
    format TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('received', 'sending', 'stored', 'unconfirmed', 'failed'))
) STRICT;
-- With the direction, because an agent may write to itself.
CREATE UNIQUE INDEX direct_messages_by_id ON direct_messages (agent, sender, message_id, direction);
CREATE INDEX direct_messages_by_agent ON direct_messages (agent);
CREATE INDEX direct_messages_by_peer ON direct_messages (agent, peer);
CREATE INDEX direct_messages_sending ON direct_messages (agent) WHERE status = 'sending';

-- Peers and blocks belong to the node: all its agents share its connections.
CREATE TABLE peers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    peer TEXT NOT NULL,
    addresses TEXT NOT NULL DEFAULT '[]', -- JSON array, the latest seen first
    source TEXT NOT NULL DEFAULT '',      -- how it was first found
    agent_version TEXT NOT NULL DEFAULT '',
    display_name TEXT NOT NULL DEFAULT '',
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX peers_by_peer ON peers (peer);
CREATE INDEX peers_by_last_seen ON peers (last_seen);

CREATE TABLE blocks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    peer TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    blocked_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX blocks_by_peer ON blocks (peer);

-- Capabilities that the daemon itself serves; those of connections live as long as the connection.
CREATE TABLE capabilities (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,           -- JSON
    put_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX capabilities_by_name ON capabilities (agent, name);

CREATE TABLE invocations (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    invocation TEXT NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    peer TEXT NOT NULL,
    capability TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    input_bytes INTEGER NOT NULL,
    output_bytes INTEGER NOT NULL,
    outcome TEXT NOT NULL         -- 'ok', or the word of the error table
) STRICT;
CREATE INDEX invocations_by_agent ON invocations (agent);
CREATE INDEX invocations_by_use ON invocations (agent, peer, capability);

-- The durable event log: written in the transaction of what it tells of. `ref` is the position of the row in the table
-- of its kind (room: room_messages, dm: direct_messages, invoke: invocations), 0 if there is none.
CREATE TABLE events (
    cursor INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    type TEXT NOT NULL,
    at INTEGER NOT NULL,
    room TEXT NOT NULL DEFAULT '',
    peer TEXT NOT NULL DEFAULT '',
    ref INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX events_by_kind ON events (kind);
CREATE INDEX events_by_room ON events (room) WHERE room <> '';
CREATE INDEX events_by_peer ON events (peer) WHERE peer <> '';
