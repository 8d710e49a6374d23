-- Work that broke off is done again for the same input only: else one payment had an answer for each attempt.
ALTER TABLE charges ADD COLUMN input BLOB NOT NULL DEFAULT x''; -- SHA-256 of what a stream is worked on for
