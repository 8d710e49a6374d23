-- What the node keeps of the DHT. All of it is the node's, not an agent's. Keys are bytes.

-- What the node tells of itself, and must tell again: records, and what it provides (then `value` is empty).
CREATE TABLE dht_own (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sort TEXT NOT NULL CHECK (sort IN ('record', 'provider')),
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    due_at INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX dht_own_by_key ON dht_own (sort, key);

-- What is kept for others; its bounds are the program's.
CREATE TABLE dht_records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    peer TEXT NOT NULL,           -- who brought it
    received_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX dht_records_by_key ON dht_records (key);

CREATE TABLE dht_providers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL,
    peer TEXT NOT NULL,
    addresses TEXT NOT NULL DEFAULT '[]', -- JSON array of binary multiaddrs in base64
    subnet TEXT NOT NULL DEFAULT '',
    received_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX dht_providers_by_key ON dht_providers (key, peer);
