-- Metrics, one row a data point, as the OpenTelemetry Collector's ClickHouse exporter makes them since v0.160.
CREATE TABLE IF NOT EXISTS otel_metrics_gauge
(
    ResourceAttributes     Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl      String CODEC(ZSTD(1)),
    ScopeName              String CODEC(ZSTD(1)),
    ScopeVersion           String CODEC(ZSTD(1)),
    ScopeAttributes        Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeDroppedAttrCount  UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl         String CODEC(ZSTD(1)),
    ServiceName            LowCardinality(String) COMMENT 'resource attribute service.name' CODEC(ZSTD(1)),
    MetricName             LowCardinality(String) COMMENT 'exactly as the source gives it' CODEC(ZSTD(1)),
    MetricDescription      String CODEC(ZSTD(1)),
    MetricUnit             String COMMENT 'the unit of the values, as the source gives it' CODEC(ZSTD(1)),
    Attributes             Map(LowCardinality(String), String) COMMENT 'the labels of the data point' CODEC(ZSTD(1)),
    StartTimeUnix          DateTime CODEC(Delta, ZSTD(1)),
    TimeUnix               DateTime CODEC(Delta, ZSTD(1)),
    Value                  Float64 COMMENT 'in MetricUnit' CODEC(ZSTD(1)),
    Flags                  UInt32 CODEC(ZSTD(1)),
    Exemplars Nested
    (
        FilteredAttributes Map(LowCardinality(String), String),
        TimeUnix           DateTime,
        Value              Float64,
        SpanId             String,
        TraceId            String
    ) CODEC(ZSTD(1)),
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,     -- only: upstream
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1, -- only: upstream
    INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,      -- only: upstream
    INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,  -- only: upstream
    INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,                 -- only: upstream
    INDEX idx_attr_value mapValues(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,             -- only: upstream
    INDEX idx_time_minmax TimeUnix TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS otel_metrics_sum
(
    ResourceAttributes     Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl      String CODEC(ZSTD(1)),
    ScopeName              String CODEC(ZSTD(1)),
    ScopeVersion           String CODEC(ZSTD(1)),
    ScopeAttributes        Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeDroppedAttrCount  UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl         String CODEC(ZSTD(1)),
    ServiceName            LowCardinality(String) COMMENT 'resource attribute service.name' CODEC(ZSTD(1)),
    MetricName             LowCardinality(String) COMMENT 'exactly as the source gives it' CODEC(ZSTD(1)),
    MetricDescription      String CODEC(ZSTD(1)),
    MetricUnit             String COMMENT 'the unit of the values, as the source gives it' CODEC(ZSTD(1)),
    Attributes             Map(LowCardinality(String), String) COMMENT 'the labels of the data point' CODEC(ZSTD(1)),
    StartTimeUnix          DateTime CODEC(Delta, ZSTD(1)),
    TimeUnix               DateTime CODEC(Delta, ZSTD(1)),
    Value                  Float64 COMMENT 'in MetricUnit' CODEC(ZSTD(1)),
    AggregationTemporality Int32 COMMENT '0 unspecified, 1 delta, 2 cumulative' CODEC(ZSTD(1)),
    IsMonotonic            Bool CODEC(ZSTD(1)),
    Flags                  UInt32 CODEC(ZSTD(1)),
    Exemplars Nested
    (
        FilteredAttributes Map(LowCardinality(String), String),
        TimeUnix           DateTime,
        Value              Float64,
        SpanId             String,
        TraceId            String
    ) CODEC(ZSTD(1)),
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,     -- only: upstream
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1, -- only: upstream
    INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,      -- only: upstream
    INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,  -- only: upstream
    INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,                 -- only: upstream
    INDEX idx_attr_value mapValues(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,             -- only: upstream
    INDEX idx_time_minmax TimeUnix TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS otel_metrics_histogram
(
    ResourceAttributes     Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl      String CODEC(ZSTD(1)),
    ScopeName              String CODEC(ZSTD(1)),
    ScopeVersion           String CODEC(ZSTD(1)),
    ScopeAttributes        Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeDroppedAttrCount  UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl         String CODEC(ZSTD(1)),
    ServiceName            LowCardinality(String) COMMENT 'resource attribute service.name' CODEC(ZSTD(1)),
    MetricName             LowCardinality(String) COMMENT 'exactly as the source gives it' CODEC(ZSTD(1)),
    MetricDescription      String CODEC(ZSTD(1)),
    MetricUnit             String COMMENT 'the unit of the values, as the source gives it' CODEC(ZSTD(1)),
    Attributes             Map(LowCardinality(String), String) COMMENT 'the labels of the data point' CODEC(ZSTD(1)),
    StartTimeUnix          DateTime CODEC(Delta, ZSTD(1)),
    TimeUnix               DateTime CODEC(Delta, ZSTD(1)),
    Count                  UInt64 COMMENT 'observations' CODEC(Delta, ZSTD(1)),
    Sum                    Float64 COMMENT 'in MetricUnit' CODEC(ZSTD(1)),
    BucketCounts           Array(UInt64) COMMENT 'observations' CODEC(ZSTD(1)),
    ExplicitBounds         Array(Float64) COMMENT 'in MetricUnit' CODEC(ZSTD(1)),
    Min                    Float64 COMMENT 'in MetricUnit; 0 when absent' CODEC(ZSTD(1)),
    Max                    Float64 COMMENT 'in MetricUnit; 0 when absent' CODEC(ZSTD(1)),
    AggregationTemporality Int32 COMMENT '0 unspecified, 1 delta, 2 cumulative' CODEC(ZSTD(1)),
    Flags                  UInt32 CODEC(ZSTD(1)),
    Exemplars Nested
    (
        FilteredAttributes Map(LowCardinality(String), String),
        TimeUnix           DateTime,
        Value              Float64,
        SpanId             String,
        TraceId            String
    ) CODEC(ZSTD(1)),
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,     -- only: upstream
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1, -- only: upstream
    INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,      -- only: upstream
    INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,  -- only: upstream
    INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,                 -- only: upstream
    INDEX idx_attr_value mapValues(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,             -- only: upstream
    INDEX idx_time_minmax TimeUnix TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS otel_metrics_exponential_histogram
(
    ResourceAttributes     Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl      String CODEC(ZSTD(1)),
    ScopeName              String CODEC(ZSTD(1)),
    ScopeVersion           String CODEC(ZSTD(1)),
    ScopeAttributes        Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeDroppedAttrCount  UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl         String CODEC(ZSTD(1)),
    ServiceName            LowCardinality(String) COMMENT 'resource attribute service.name' CODEC(ZSTD(1)),
    MetricName             LowCardinality(String) COMMENT 'exactly as the source gives it' CODEC(ZSTD(1)),
    MetricDescription      String CODEC(ZSTD(1)),
    MetricUnit             String COMMENT 'the unit of the values, as the source gives it' CODEC(ZSTD(1)),
    Attributes             Map(LowCardinality(String), String) COMMENT 'the labels of the data point' CODEC(ZSTD(1)),
    StartTimeUnix          DateTime CODEC(Delta, ZSTD(1)),
    TimeUnix               DateTime CODEC(Delta, ZSTD(1)),
    Count                  UInt64 COMMENT 'observations' CODEC(Delta, ZSTD(1)),
    Sum                    Float64 COMMENT 'in MetricUnit' CODEC(ZSTD(1)),
    Scale                  Int32 COMMENT 'base = 2^(2^-scale)' CODEC(ZSTD(1)),
    ZeroCount              UInt64 COMMENT 'observations' CODEC(ZSTD(1)),
    PositiveOffset         Int32 CODEC(ZSTD(1)),
    PositiveBucketCounts   Array(UInt64) COMMENT 'observations' CODEC(ZSTD(1)),
    NegativeOffset         Int32 CODEC(ZSTD(1)),
    NegativeBucketCounts   Array(UInt64) COMMENT 'observations' CODEC(ZSTD(1)),
    Min                    Float64 COMMENT 'in MetricUnit; 0 when absent' CODEC(ZSTD(1)),
    Max                    Float64 COMMENT 'in MetricUnit; 0 when absent' CODEC(ZSTD(1)),
    AggregationTemporality Int32 COMMENT '0 unspecified, 1 delta, 2 cumulative' CODEC(ZSTD(1)),
    Flags                  UInt32 CODEC(ZSTD(1)),
    Exemplars Nested
    (
        FilteredAttributes Map(LowCardinality(String), String),
        TimeUnix           DateTime,
        Value              Float64,
        SpanId             String,
        TraceId            String
    ) CODEC(ZSTD(1)),
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,     -- only: upstream
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1, -- only: upstream
    INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,      -- only: upstream
    INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,  -- only: upstream
    INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,                 -- only: upstream
    INDEX idx_attr_value mapValues(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,             -- only: upstream
    INDEX idx_time_minmax TimeUnix TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 134217728;

CREATE TABLE IF NOT EXISTS otel_metrics_summary
(
    ResourceAttributes     Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ResourceSchemaUrl      String CODEC(ZSTD(1)),
    ScopeName              String CODEC(ZSTD(1)),
    ScopeVersion           String CODEC(ZSTD(1)),
    ScopeAttributes        Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ScopeDroppedAttrCount  UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl         String CODEC(ZSTD(1)),
    ServiceName            LowCardinality(String) COMMENT 'resource attribute service.name' CODEC(ZSTD(1)),
    MetricName             LowCardinality(String) COMMENT 'exactly as the source gives it' CODEC(ZSTD(1)),
    MetricDescription      String CODEC(ZSTD(1)),
    MetricUnit             String COMMENT 'the unit of the values, as the source gives it' CODEC(ZSTD(1)),
    Attributes             Map(LowCardinality(String), String) COMMENT 'the labels of the data point' CODEC(ZSTD(1)),
    StartTimeUnix          DateTime CODEC(Delta, ZSTD(1)),
    TimeUnix               DateTime CODEC(Delta, ZSTD(1)),
    Count                  UInt64 COMMENT 'observations' CODEC(Delta, ZSTD(1)),
    Sum                    Float64 COMMENT 'in MetricUnit' CODEC(ZSTD(1)),
    ValueAtQuantiles Nested
    (
        Quantile Float64,
        Value    Float64
    ) CODEC(ZSTD(1)),
    Flags                  UInt32 CODEC(ZSTD(1)),
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,     -- only: upstream
    INDEX idx_res_attr_value mapValues(ResourceAttributes) TYPE bloom_filter(0.01) GRANULARITY 1, -- only: upstream
    INDEX idx_scope_attr_key mapKeys(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,      -- only: upstream
    INDEX idx_scope_attr_value mapValues(ScopeAttributes) TYPE bloom_filter(0.01) GRANULARITY 1,  -- only: upstream
    INDEX idx_attr_key mapKeys(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,                 -- only: upstream
    INDEX idx_attr_value mapValues(Attributes) TYPE bloom_filter(0.01) GRANULARITY 1,             -- only: upstream
    INDEX idx_time_minmax TimeUnix TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toDate(TimeUnix)
ORDER BY (ServiceName, MetricName, toStartOfHour(TimeUnix), cityHash64(Attributes), TimeUnix)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000, min_bytes_for_wide_part = 134217728;
