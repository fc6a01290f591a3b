-- Spans are merged many parts at a time, so that each is rewritten less often (docs/adr/0026). A part tells which times it
-- holds, so a question passes over those of other times, however many there are; a day has some fifty at most, as before.
ALTER TABLE otel_traces
    MODIFY SETTING merge_selector_base = 40;

ALTER TABLE otel_traces_trace_id_ts
    MODIFY SETTING merge_selector_base = 40;

ALTER TABLE tailsight_requests
    MODIFY SETTING merge_selector_base = 40;
