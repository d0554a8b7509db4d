-- Whether people compared the fingerprint of a peer's signing key over another channel. Of the key and
-- not of the peer: a peer that comes with another key is not compared.
CREATE TABLE peer_comparisons (
    peer        TEXT NOT NULL,
    signing_key BLOB NOT NULL,
    compared_ms BIGINT NOT NULL,
    PRIMARY KEY (peer, signing_key)
);
