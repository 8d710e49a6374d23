-- Calls that were not begun, for want of a payment or because the provider would not, are no calls that failed. Those of
-- before are among these still: what was asked for a price alone cannot be told from what was given up.
ALTER TABLE metering ADD COLUMN not_begun INTEGER NOT NULL DEFAULT 0;
