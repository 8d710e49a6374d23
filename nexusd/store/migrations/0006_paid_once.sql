-- A call that is made again shows the payment that was counted already.
CREATE INDEX invocations_by_payment ON invocations (payment) WHERE payment <> '';
