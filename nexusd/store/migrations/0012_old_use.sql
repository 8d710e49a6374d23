-- What is old is folded or dropped: meters by their day, and finished calls with their events.
CREATE INDEX metering_by_age ON metering (day) WHERE peer <> '';
CREATE INDEX events_of_calls ON events (ref) WHERE kind = 'invoke';
