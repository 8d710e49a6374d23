-- What was settled is looked at until nothing can undo its block, however much of it there is, and across restarts.
ALTER TABLE charges ADD COLUMN sure INTEGER NOT NULL DEFAULT 0; -- 1: settled for good
UPDATE charges SET sure = 1 WHERE state = 'settled' AND changed_at < (SELECT max(changed_at) FROM charges) - 86400000;
DROP INDEX charges_settled;
CREATE INDEX charges_unsure ON charges (block) WHERE state = 'settled' AND sure = 0;
