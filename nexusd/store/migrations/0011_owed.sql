-- What a peer owes, from whatever accounts it pays.
CREATE INDEX charges_live ON charges (peer) WHERE state IN ('reserved', 'due', 'submitted');
