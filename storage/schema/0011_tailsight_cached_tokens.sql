ALTER TABLE tailsight_requests
    ADD COLUMN IF NOT EXISTS cached_tokens Nullable(UInt32) COMMENT 'tokens of the prompt that were in the prefix cache' CODEC(ZSTD(1));
