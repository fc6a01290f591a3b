-- What Tailsight found, and what it was told: one row a version, the newest wins.
CREATE TABLE IF NOT EXISTS tailsight_incidents
(
    id         String,
    service    LowCardinality(String),
    status     LowCardinality(String) COMMENT 'open, resolved',
    started_at DateTime64(6, 'UTC'),
    ended_at   Nullable(DateTime64(6, 'UTC')),
    document   String COMMENT 'the incident as JSON' CODEC(ZSTD(1)),
    updated_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY id;

CREATE TABLE IF NOT EXISTS tailsight_documents
(
    kind       LowCardinality(String) COMMENT 'topology, …',
    name       String,
    document   String COMMENT 'JSON' CODEC(ZSTD(1)),
    updated_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (kind, name);
