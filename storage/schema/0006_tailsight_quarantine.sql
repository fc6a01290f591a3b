-- What was acknowledged and could not be stored as it came, with the reason: nothing acknowledged is lost.
CREATE TABLE IF NOT EXISTS tailsight_quarantine
(
    received_at DateTime64(6, 'UTC'),
    signal      LowCardinality(String) COMMENT 'traces, metrics or logs',
    reason      LowCardinality(String) COMMENT 'undecodable, …',
    segment     String COMMENT 'the segment of the write-ahead log it came in',
    count       UInt64 COMMENT 'spans or data points',
    detail      String COMMENT 'what was found' CODEC(ZSTD(1)),
    payload     String COMMENT 'the raw request in base64' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(received_at)
ORDER BY (received_at, signal, reason)
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000;
