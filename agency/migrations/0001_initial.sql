-- Times are milliseconds since the Unix epoch. Ids and digests are raw bytes.
-- The tables keep to what SQLite and PostgreSQL share.

CREATE TABLE peers (
    name        TEXT PRIMARY KEY NOT NULL,
    manifest    BLOB NOT NULL,          -- the signed agency manifest as received
    signing_key BLOB NOT NULL,          -- Ed25519 public key, 32 bytes
    address     TEXT,                   -- host:port
    added_ms    BIGINT NOT NULL,
    expires_ms  BIGINT NOT NULL,
    revoked_ms  BIGINT
);

CREATE TABLE peer_pins (
    spki BLOB PRIMARY KEY NOT NULL,     -- SHA-256 of the SubjectPublicKeyInfo; one agency each
    peer TEXT NOT NULL REFERENCES peers (name) ON DELETE CASCADE
);
CREATE INDEX peer_pins_peer ON peer_pins (peer);

CREATE TABLE peer_authorities (
    peer     TEXT NOT NULL REFERENCES peers (name) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    der      BLOB NOT NULL,
    PRIMARY KEY (peer, position)
);

CREATE TABLE collections (
    name            TEXT PRIMARY KEY NOT NULL,
    epoch           BIGINT NOT NULL,
    meta            TEXT NOT NULL,      -- JSON of the publisher
    snapshot_digest BLOB,
    published_ms    BIGINT,
    removed         BIGINT NOT NULL     -- 0 or 1; the row stays, so that epochs never go back
);

-- The sender's side. A row also remembers that a request's id was used.
CREATE TABLE sessions (
    session        BLOB PRIMARY KEY NOT NULL,
    peer           TEXT NOT NULL,
    collection     TEXT NOT NULL,
    epoch          BIGINT NOT NULL,
    request_digest BLOB NOT NULL,
    expires_ms     BIGINT NOT NULL,     -- of the request
    status         TEXT NOT NULL,       -- open, closed, aborted, refused
    record_path    TEXT NOT NULL,
    created_ms     BIGINT NOT NULL,
    active_ms      BIGINT NOT NULL,
    closed_ms      BIGINT
);
CREATE INDEX sessions_open ON sessions (status, peer);

CREATE TABLE session_grants (
    session      BLOB NOT NULL REFERENCES sessions (session) ON DELETE CASCADE,
    element_type TEXT NOT NULL,
    granted      BIGINT NOT NULL,
    used         BIGINT NOT NULL,
    PRIMARY KEY (session, element_type)
);

CREATE TABLE chunks (
    session       BLOB NOT NULL REFERENCES sessions (session) ON DELETE CASCADE,
    chunk_index   BIGINT NOT NULL,
    element_type  TEXT NOT NULL,
    elements      BIGINT NOT NULL,
    digest        BLOB NOT NULL,        -- of the chunk's bytes
    answer_offset BIGINT,               -- of the answer's frame in the record file
    answer_len    BIGINT,
    PRIMARY KEY (session, chunk_index)
);

-- Elements evaluated for a peer under one key. No reference to peers: it outlives removal.
CREATE TABLE charges (
    peer         TEXT NOT NULL,
    collection   TEXT NOT NULL,
    epoch        BIGINT NOT NULL,
    element_type TEXT NOT NULL,
    elements     BIGINT NOT NULL,
    PRIMARY KEY (peer, collection, epoch, element_type)
);

-- The receiver's side.
CREATE TABLE runs (
    session      BLOB PRIMARY KEY NOT NULL,
    peer         TEXT NOT NULL,
    collection   TEXT NOT NULL,
    input_digest BLOB NOT NULL,
    sealed_seed  BLOB,                  -- gone when the run is finished
    state        TEXT NOT NULL,
    created_ms   BIGINT NOT NULL,
    finished_ms  BIGINT
);
CREATE INDEX runs_open ON runs (peer, collection, input_digest);

-- Where session records lie.
CREATE TABLE records (
    session   BLOB NOT NULL,
    role      TEXT NOT NULL,            -- sender, receiver
    peer      TEXT NOT NULL,
    path      TEXT NOT NULL,
    digest    BLOB NOT NULL,
    closed_ms BIGINT NOT NULL,
    PRIMARY KEY (session, role)
);
CREATE INDEX records_peer ON records (peer, closed_ms);
