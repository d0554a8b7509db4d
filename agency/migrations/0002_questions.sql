-- The frame of a chunk that was charged and not yet answered. A session that ends then still shows
-- in its record what it was charged. Blinded elements only; gone once the answer is on disk.
ALTER TABLE chunks ADD COLUMN question BLOB;
