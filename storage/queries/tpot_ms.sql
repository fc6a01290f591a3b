-- Part of other questions: ms for each token of a request after the first. Fewer than two tokens have none.
coalesce(decode_ms, latency_ms - ttft_ms) / (toInt64(output_tokens) - 1)
