-- Tabs follow one another within a call. Each has a charge of its own; the first keeps what came of the call.
ALTER TABLE charges ADD COLUMN number INTEGER NOT NULL DEFAULT 0; -- of a tab: its place in its call
CREATE INDEX charges_of_call ON charges (request) WHERE tab = 1;

-- How far a payer is trusted follows from what it settled here, and from what it took back.
CREATE INDEX charges_settled_by ON charges (peer) WHERE state = 'settled';
CREATE TABLE offences (
    charge INTEGER PRIMARY KEY,   -- charges.position: lost, through the payer's doing
    offender TEXT NOT NULL,       -- the peer
    account TEXT NOT NULL         -- the payer, lower hex
) STRICT;
CREATE INDEX offences_by_offender ON offences (offender);
CREATE INDEX offences_by_account ON offences (account);
INSERT INTO offences (charge, offender, account)
    SELECT position, peer, substr(key, -105, 40) FROM charges
    WHERE state = 'lost' AND (
        reason LIKE 'cancelled%' OR reason LIKE 'the payer had%' OR reason LIKE '%would fail: %balance%'
    );

-- Tabs of a call that were followed by another, with what was signed last. The newest one is in `purchases`.
ALTER TABLE purchases ADD COLUMN tabs INTEGER NOT NULL DEFAULT 0; -- how many there are here
ALTER TABLE purchases ADD COLUMN before TEXT NOT NULL DEFAULT '0'; -- amount that was signed under them
CREATE TABLE purchase_tabs (
    purchase INTEGER NOT NULL,    -- purchases.position
    number INTEGER NOT NULL,
    key TEXT NOT NULL,
    payer BLOB NOT NULL,
    signed TEXT NOT NULL,
    valid_after INTEGER NOT NULL,
    valid_before INTEGER NOT NULL,
    nonce BLOB NOT NULL,
    salt BLOB NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (purchase, number)
) STRICT, WITHOUT ROWID;

-- What is counted: 'request', 'chunk', 'byte', 'token_out', 'second'; '' where nothing was paid, or by whom never said.
ALTER TABLE invocations ADD COLUMN unit TEXT NOT NULL DEFAULT '';
ALTER TABLE metering ADD COLUMN unit TEXT NOT NULL DEFAULT '';
DROP INDEX metering_by_use;
CREATE UNIQUE INDEX metering_by_use ON metering (agent, peer, capability, direction, day, asset, unit);
