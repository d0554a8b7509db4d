-- The randomness from which the nonce of a chunk's proof is derived, together with the key and the whole
-- statement: without the key it tells nothing. Kept with the question, until the answer is on disk: so that
-- an answer which left and was lost in a crash is the same to the byte when it is computed again.
ALTER TABLE chunks ADD COLUMN fresh BLOB;
-- 1 for a shift at a desk: long, mostly silent, and counted apart from sessions that are soon over.
ALTER TABLE sessions ADD COLUMN shift BIGINT NOT NULL DEFAULT 0;
