-- What is owed to this node's agents, what they spend, and what was used. Amounts are decimal text: they have 256 bits.
-- `asset` is 'eip155:<chain>/<contract, lower hex>'. Times are unix milliseconds, except valid_after and valid_before,
-- which are unix seconds as on the chain.

-- One row for each authorisation that was shown to us. (protocols: payments/charge)
CREATE TABLE charges (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,            -- <asset>/<payer>/<nonce>, lower hex
    agent TEXT NOT NULL,
    peer TEXT NOT NULL,
    capability TEXT NOT NULL,
    request BLOB NOT NULL,        -- digest of the call
    pay_to BLOB NOT NULL,
    amount TEXT NOT NULL,         -- signed; of a tab the highest
    valid_after INTEGER NOT NULL,
    valid_before INTEGER NOT NULL,
    signature BLOB NOT NULL,      -- over that amount
    tab INTEGER NOT NULL CHECK (tab IN (0, 1)),
    bound INTEGER NOT NULL CHECK (bound IN (0, 1)),
    state TEXT NOT NULL CHECK (state IN ('reserved', 'due', 'submitted', 'settled', 'lost', 'released')),
    working INTEGER NOT NULL CHECK (working IN (0, 1)),
    attempts INTEGER NOT NULL,
    delivered TEXT NOT NULL CHECK (delivered IN ('nothing', 'part', 'all')),
    result_digest BLOB NOT NULL,
    result_size INTEGER NOT NULL,
    result_kept INTEGER NOT NULL CHECK (result_kept IN (0, 1)), -- in charge_results
    result_ref TEXT NOT NULL,
    receipt BLOB NOT NULL,
    tx TEXT NOT NULL,             -- hash of the newest transaction
    block INTEGER NOT NULL,       -- in which it was settled
    reason TEXT NOT NULL,
    next_at INTEGER NOT NULL DEFAULT 0, -- settlement looks at it again then
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX charges_by_key ON charges (key);
CREATE INDEX charges_by_agent ON charges (agent);
CREATE INDEX charges_by_state ON charges (agent, state);
CREATE INDEX charges_to_settle ON charges (valid_before) WHERE state IN ('due', 'submitted');
CREATE INDEX charges_settled ON charges (block) WHERE state = 'settled';
CREATE INDEX charges_at_work ON charges (position) WHERE working = 1 OR state = 'reserved';
CREATE INDEX charges_to_forget ON charges (valid_before) WHERE state = 'released' OR result_kept = 1;

-- Results that are kept to be given again; apart, so that reading a charge leaves their pages alone.
CREATE TABLE charge_results (
    charge INTEGER PRIMARY KEY,   -- charges.position
    data BLOB NOT NULL
) STRICT;

-- Sums over the charges of each payer in each asset, and of all payers ('').
CREATE TABLE charge_sums (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    asset TEXT NOT NULL,
    payer TEXT NOT NULL,          -- lower hex
    owed TEXT NOT NULL,           -- reserved, due and submitted
    owing INTEGER NOT NULL,       -- how many these are
    settled TEXT NOT NULL,
    settlings INTEGER NOT NULL,
    lost TEXT NOT NULL,
    losses INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX charge_sums_by_payer ON charge_sums (asset, payer);

-- Transactions that settle, written before they are sent. One may settle several charges, and a charge may have several.
CREATE TABLE settlements (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    network TEXT NOT NULL,
    account TEXT NOT NULL,        -- that pays the gas, lower hex
    account_nonce INTEGER NOT NULL,
    tx TEXT NOT NULL,             -- hash
    raw BLOB NOT NULL,
    made_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX settlements_by_tx ON settlements (tx);
CREATE INDEX settlements_by_account ON settlements (network, account, account_nonce);
CREATE TABLE settlement_charges (
    charge INTEGER NOT NULL,
    settlement INTEGER NOT NULL,
    PRIMARY KEY (charge, settlement)
) STRICT, WITHOUT ROWID;

-- One row for each payment that an agent here makes, from the wish on.
CREATE TABLE purchases (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    purchase TEXT NOT NULL,       -- its id
    agent TEXT NOT NULL,
    peer TEXT NOT NULL,           -- the provider
    capability TEXT NOT NULL,
    request BLOB NOT NULL,        -- digest of the call
    asset TEXT NOT NULL,
    pay_to BLOB NOT NULL,
    amount TEXT NOT NULL,         -- that may be signed at most
    cost INTEGER NOT NULL,        -- the same in millionths of the policy's currency, rounded up
    tab INTEGER NOT NULL CHECK (tab IN (0, 1)),
    note TEXT NOT NULL,           -- for the person who approves
    state TEXT NOT NULL CHECK (state IN ('waiting', 'intended', 'signed', 'spent', 'closed')),
    key TEXT NOT NULL DEFAULT '', -- of the authorisation; '' before it is signed
    payer BLOB NOT NULL DEFAULT x'',
    signed TEXT NOT NULL DEFAULT '0', -- amount
    valid_after INTEGER NOT NULL DEFAULT 0,
    valid_before INTEGER NOT NULL DEFAULT 0,
    nonce BLOB NOT NULL DEFAULT x'',
    salt BLOB NOT NULL DEFAULT x'',
    signature BLOB NOT NULL DEFAULT x'',
    payload BLOB NOT NULL DEFAULT x'', -- as it was sent, to be shown again
    receipt BLOB NOT NULL DEFAULT x'',
    response BLOB NOT NULL DEFAULT x'', -- the settlement response
    outcome TEXT NOT NULL DEFAULT '',
    asked_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    counts INTEGER NOT NULL,      -- the cost that counts as spent
    until INTEGER NOT NULL        -- so long
) STRICT;
CREATE UNIQUE INDEX purchases_by_id ON purchases (purchase);
CREATE INDEX purchases_by_agent ON purchases (agent);
CREATE INDEX purchases_by_time ON purchases (agent, asked_at, until, counts, pay_to);
CREATE INDEX purchases_by_payee ON purchases (agent, pay_to) WHERE state = 'spent';
CREATE INDEX purchases_by_key ON purchases (key) WHERE key <> '';
CREATE INDEX purchases_waiting ON purchases (agent) WHERE state = 'waiting';
CREATE INDEX purchases_unsigned ON purchases (position) WHERE state IN ('waiting', 'intended');
CREATE INDEX purchases_open ON purchases (valid_before) WHERE state = 'signed';

-- What was used, by whom, a day (UTC): sums over invocations. `asset` is '' where nothing was paid.
CREATE TABLE metering (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    peer TEXT NOT NULL,
    capability TEXT NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    day INTEGER NOT NULL,         -- unix time / 86,400,000 ms
    asset TEXT NOT NULL,
    calls INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    input_bytes INTEGER NOT NULL,
    output_bytes INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    units INTEGER NOT NULL,       -- tokens, seconds … as priced
    amount TEXT NOT NULL,
    last_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX metering_by_use ON metering (agent, peer, capability, direction, day, asset);
CREATE INDEX metering_by_day ON metering (agent, day);
INSERT INTO metering (agent, peer, capability, direction, day, asset, calls, failed, input_bytes, output_bytes, duration_ms,
        units, amount, last_at)
    SELECT agent, peer, capability, direction, started_at / 86400000, '', count(*), sum(outcome <> 'ok'), sum(input_bytes),
        sum(output_bytes), sum(duration_ms), 0, '0', max(started_at)
    FROM invocations GROUP BY 1, 2, 3, 4, 5 ORDER BY min(position);

ALTER TABLE invocations ADD COLUMN payment TEXT NOT NULL DEFAULT ''; -- charges.key or purchases.purchase
ALTER TABLE invocations ADD COLUMN asset TEXT NOT NULL DEFAULT '';
ALTER TABLE invocations ADD COLUMN amount TEXT NOT NULL DEFAULT '0';
ALTER TABLE invocations ADD COLUMN units INTEGER NOT NULL DEFAULT 0;
