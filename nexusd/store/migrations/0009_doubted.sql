-- Payments that came to nothing by the provider's word, or by nobody's: the chain is asked whether it is so.
CREATE INDEX purchases_doubted ON purchases (asset, valid_before)
    WHERE state = 'closed' AND key <> '' AND counts > 0;
-- What was never signed cost nothing. What was signed costs nothing once the chain says that it was not used.
UPDATE purchases SET counts = 0 WHERE state = 'closed' AND key = '';
