"""Times of requests that are made of others, as expressions on frames of `storage.readers.read_requests`."""

import polars as pl


def tpot_ms() -> pl.Expr:
    """Time per output token after the first, ms; null for requests of fewer than two tokens.

    As objectives count it (`storage/queries/tpot_ms.sql`): the decode time that the engine tells, or what of the
    latency is left after the time to first token.
    """
    further = pl.col("output_tokens").cast(pl.Int64) - 1
    decode = pl.coalesce("decode_ms", pl.col("latency_ms") - pl.col("ttft_ms"))
    return pl.when(further > 0).then(decode / further).alias("tpot_ms")
