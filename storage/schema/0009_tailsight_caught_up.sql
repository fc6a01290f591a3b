-- What was read of the tables of somebody else's: by 15 s of event time, how many rows there were when they were read.
CREATE TABLE IF NOT EXISTS tailsight_caught_up
(
    source  LowCardinality(String) COMMENT 'the table, as DATABASE.TABLE',
    bucket  DateTime('UTC') COMMENT 'start of the 15 s' CODEC(Delta, ZSTD(1)),
    rows    UInt64 COMMENT 'rows that the table held of that time' CODEC(ZSTD(1)),
    read_at DateTime64(6, 'UTC') CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(read_at)
PARTITION BY toDate(bucket)
ORDER BY (source, bucket)
SETTINGS ttl_only_drop_parts = 1;

-- Of several processes on one server, one at a time reads: whoever took the turn. A token is inserted once.
CREATE TABLE IF NOT EXISTS tailsight_turns
(
    turn   UInt64 COMMENT 'number of the minute since 1970',
    holder String COMMENT 'the process that took it'
)
ENGINE = MergeTree
PARTITION BY intDiv(turn, 10080)
ORDER BY turn
SETTINGS non_replicated_deduplication_window = 1000;

ALTER TABLE tailsight_requests
    ADD COLUMN IF NOT EXISTS span_id String DEFAULT '' COMMENT 'of a request read from a table of somebody else''s; the view leaves it empty' CODEC(ZSTD(1));
