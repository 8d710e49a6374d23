-- Content by its address, in a file of its own: what is kept for others must not make the store of messages large.
-- A block is named by the SHA-256 of its bytes, whatever codec a CID calls them by. Times are unix milliseconds.

-- Apart from `block_data`, so that nothing that is looked up reads the bytes, and nothing that changes writes them again.
CREATE TABLE blocks (
    digest BLOB NOT NULL PRIMARY KEY,
    codec INTEGER NOT NULL,       -- under which its links were read
    version INTEGER NOT NULL,     -- of the CID it came under
    size INTEGER NOT NULL,
    data INTEGER NOT NULL,        -- block_data.id; 0: it was found damaged, and is to be had again
    stored_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blocks_damaged ON blocks (digest) WHERE data = 0;

CREATE TABLE block_data (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    data BLOB NOT NULL
) STRICT;

-- Which other blocks a block names, here or not.
CREATE TABLE block_links (
    parent BLOB NOT NULL,
    place INTEGER NOT NULL,
    child BLOB NOT NULL,
    codec INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (parent, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX block_links_by_child ON block_links (child);

-- Reasons to keep a block and all below it. It may be made before they are here.
CREATE TABLE pins (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    owner TEXT NOT NULL,          -- 'user', 'room:<id>', 'cache', 'directory'
    digest BLOB NOT NULL,
    codec INTEGER NOT NULL,
    version INTEGER NOT NULL,
    retention TEXT NOT NULL,
    name TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL DEFAULT 0, -- of all below it, as its maker says
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL DEFAULT 0 -- 0: never
) STRICT;
CREATE UNIQUE INDEX pins_by_root ON pins (digest, agent, owner, codec, version);
CREATE INDEX pins_by_owner ON pins (agent, owner);
CREATE INDEX pins_by_expiry ON pins (expires_at) WHERE expires_at > 0;
