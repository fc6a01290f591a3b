"""Every source: its row, its page, and a real sample of it that becomes the right rows."""

import gzip
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.exposition import Origin, Reader
from collector.sources import SOURCES, SourceName
from storage.store import Store
from tests.scenarios.recordings import TELEMETRY, Doors, open_doors, read_scrapes

PAGES = Path(__file__).parents[2] / "docs" / "sources"
NOW = 1_795_000_000_000_000_000

Labels: TypeAlias = tuple[tuple[str, str], ...]
Values: TypeAlias = dict[tuple[str, Labels], Any]

RECORDED: Mapping[SourceName, tuple[str, ...]] = {
    "dcgm": (
        "dcgm/rendered-dcgm-exporter-main-2026-05_8xH100-mixed.prom",
        "dcgm/real_L40S_driver595_no-pod-labels.prom",
        "dcgm/real_T4_driver460_old-labels.prom",
    ),
    "node": ("ib/node_exporter-1.11.1-mlx5-ndr-tree.prom", "ib/node_exporter-1.5.0-infiniband-fixture.prom"),
    "vllm": ("engines/vllm-0.32.0-cpu-metrics.prom",),
    "triton": ("engines/triton-partial-metrics.prom",),
    "dynamo": (
        "engines/dynamo-1.6.1-metrics-series-baseline.prom.gz#frontend",
        "engines/dynamo-1.6.1-metrics-series-baseline.prom.gz#worker1",
    ),
    "ray": ("engines/ray-serve-metrics.prom.gz",),
    "nim": ("engines/nim-llama-3.1-8b-metrics.prom",),
}

# Written by hand from the documentation of each, and shortened: nobody has recorded these for us.
HAND_WRITTEN: Mapping[SourceName, str] = {
    "sglang": """# TYPE sglang:token_usage gauge
sglang:token_usage{model_name="llama-8b",engine_type="unified",tp_rank="0",pp_rank="0"} 0.28
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{model_name="llama-8b",engine_type="unified",tp_rank="0",pp_rank="0"} 3
# TYPE sglang:prompt_tokens_total counter
sglang:prompt_tokens_total{model_name="llama-8b"} 8.128902e+06
# TYPE sglang:time_to_first_token_seconds histogram
sglang:time_to_first_token_seconds_bucket{le="0.1",model_name="llama-8b"} 4.0
sglang:time_to_first_token_seconds_bucket{le="+Inf",model_name="llama-8b"} 5.0
sglang:time_to_first_token_seconds_sum{model_name="llama-8b"} 1.25
sglang:time_to_first_token_seconds_count{model_name="llama-8b"} 5.0
""",
    "tgi": """# TYPE tgi_queue_size gauge
tgi_queue_size 2
# TYPE tgi_batch_current_size gauge
tgi_batch_current_size 7
# TYPE tgi_request_count counter
tgi_request_count 640
# TYPE tgi_request_queue_duration histogram
tgi_request_queue_duration_bucket{le="0.001"} 600
tgi_request_queue_duration_bucket{le="+Inf"} 640
tgi_request_queue_duration_sum 1.5
tgi_request_queue_duration_count 640
""",
    "kserve": """# TYPE revision_queue_depth gauge
revision_queue_depth{namespace_name="ml",pod_name="llm-0001-abc",revision_name="llm-0001"} 4
# TYPE revision_request_count counter
revision_request_count{namespace_name="ml",pod_name="llm-0001-abc",response_code="200",revision_name="llm-0001"} 91
# TYPE revision_request_latencies histogram
revision_request_latencies_bucket{pod_name="llm-0001-abc",le="5"} 10
revision_request_latencies_bucket{pod_name="llm-0001-abc",le="+Inf"} 91
revision_request_latencies_sum{pod_name="llm-0001-abc"} 4000
revision_request_latencies_count{pod_name="llm-0001-abc"} 91
""",
}


def text_of(name: str) -> str:
    """What was recorded; of a series `FILE#TARGET`, the last scrape of that target."""
    file, _, target = name.partition("#")
    path = TELEMETRY / file
    if target:
        return read_scrapes(path, target)[-1].text
    return (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()


def samples() -> Iterator[Any]:
    for source, names in RECORDED.items():
        for name in names:
            if (TELEMETRY / name.partition("#")[0]).is_file():
                yield pytest.param(source, text_of(name), id=f"{source}-{Path(name).name}")
            else:
                skipped = pytest.mark.skip(f"no recording {name} in {TELEMETRY}")
                yield pytest.param(source, "", id=f"{source}-{Path(name).name}", marks=skipped)
    for source, text in HAND_WRITTEN.items():
        yield pytest.param(source, text, id=f"{source}-written by hand")


SAMPLES = list(samples())


@pytest.fixture
def doors(clean_store: Store, tmp_path: Path) -> Iterator[Doors]:
    with open_doors(clean_store, tmp_path / "collector") as opened:
        yield opened


def test_every_name_of_a_source_is_a_row() -> None:
    assert set(get_args(SourceName)) == SOURCES.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_a_page_that_says_how_it_is_known_and_where_it_answers(name: SourceName) -> None:
    page, source = (PAGES / f"{name}.md").read_text(), SOURCES[name]
    assert source.what in page
    assert f"source: {name}" in page
    for told in source.prefixes:
        assert not told or f"`{told}" in page, f"docs/sources/{name}.md does not tell of {told}"
    assert source.port is None or f":{source.port}{source.path}" in page
    assert f"({name}.md)" in (PAGES / "README.md").read_text()


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_a_page_says_when_nothing_was_recorded(name: str) -> None:
    assert "no recording" in (PAGES / f"{name}.md").read_text()


@pytest.mark.parametrize(("source", "text"), SAMPLES)
def test_a_sample_is_known_as_its_own_source_and_as_no_other(source: SourceName, text: str) -> None:
    found = Reader(Origin("x", "http://x:1/", {})).read(text, NOW).series
    recognised = {name for name in SOURCES if SOURCES[name].recognises(found)} - {"prometheus"}
    passed_through = {"vllm"} if any(name.startswith("vllm:") for name in found) else set()  # by a Dynamo worker
    assert recognised == {source} | passed_through


@pytest.mark.parametrize(("source", "text"), SAMPLES)
def test_a_sample_becomes_rows_with_the_values_that_another_reader_finds(
    clean_store: Store, doors: Doors, source: SourceName, text: str
) -> None:
    assert doors.scrape("job", [text], source=source) == ["ok"]
    doors.load()
    expected = {key: value for key, value in read_by_the_library(text).items() if kept(key[0], value)}
    assert stored(clean_store) == expected
    assert expected


def kept(name: str, value: Any) -> bool:
    return not name.endswith("_created") and not (isinstance(value, float) and (math.isnan(value) or value >= 2**62))


def read_by_the_library(text: str) -> Values:
    """Every sample, by its very name; bounds as numbers. The first of two equals counts.

    Each line by itself, since the library renames counters that it knows to be such.
    """
    found: Values = {}
    for line in text.splitlines():
        for family in text_string_to_metric_families(line):
            for sample in family.samples:
                labels = {name: label for name, label in sample.labels.items() if label}
                for own in labels.keys() & {"le", "quantile"}:
                    labels[own] = str(float(labels[own]))
                found.setdefault((sample.name, tuple(sorted(labels.items()))), float(sample.value))
    return found


def stored(store: Store) -> Values:
    """The same from the upstream tables."""
    engine = store.engine
    assert engine is not None

    def rows(table: str, columns: str) -> Iterator[Any]:
        statement = f"SELECT MetricName AS name, Attributes AS labels, {columns} FROM {table} WHERE name NOT IN {OWN}"
        settings = {"output_format_json_quote_denormals": "1", "output_format_json_quote_64bit_integers": "0"}
        for line in engine.read(statement, "JSONEachRow", settings=settings).body.splitlines():
            yield json.loads(line)

    found: Values = {}

    def add(name: str, labels: Mapping[str, str], value: Any, **own: float) -> None:
        texts = {**labels, **{key: str(bound) for key, bound in own.items()}}
        key = name, tuple(sorted(texts.items()))
        assert key not in found
        found[key] = float(value)

    for table in ("otel_metrics_gauge", "otel_metrics_sum"):
        for row in rows(table, "Value AS value"):
            add(row["name"], row["labels"], row["value"])
    for row in rows(
        "otel_metrics_histogram", "Count AS n, Sum AS sum, BucketCounts AS counts, ExplicitBounds AS bounds"
    ):
        below = 0
        for bound, count in zip([*row["bounds"], math.inf], row["counts"], strict=True):
            below += count
            add(f"{row['name']}_bucket", row["labels"], below, le=float(bound))
        add(f"{row['name']}_count", row["labels"], row["n"])
        add(f"{row['name']}_sum", row["labels"], row["sum"])
    quantiles = "Count AS n, Sum AS sum, ValueAtQuantiles.Quantile AS quantiles, ValueAtQuantiles.Value AS at"
    for row in rows("otel_metrics_summary", quantiles):
        for quantile, value in zip(row["quantiles"], row["at"], strict=True):
            add(row["name"], row["labels"], value, quantile=float(quantile))
        add(f"{row['name']}_count", row["labels"], row["n"])
        add(f"{row['name']}_sum", row["labels"], row["sum"])
    return found


OWN = "('up', 'scrape_duration_seconds', 'scrape_samples_scraped')"


def test_a_series_that_ended_is_told_in_the_upstream_tables_and_is_no_sample(clean_store: Store, doors: Doors) -> None:
    both, one = "# TYPE c counter\nc 1\ng 1\n# TYPE h histogram\nh_count 1\nkept 1\n", "kept 1\n"
    assert doors.scrape("job", [both, one, one]) == ["ok"] * 3
    doors.load()
    engine = clean_store.engine
    assert engine is not None

    def ended(table: str) -> list[str]:
        statement = f"SELECT MetricName FROM {table} WHERE bitAnd(Flags, 1) = 1"
        return engine.read(statement, "TSV").body.decode().split()

    assert [ended(f"otel_metrics_{kind}") for kind in ("gauge", "sum", "histogram")] == [["g"], ["c"], ["h"]]
    statement = f"SELECT metric, count() FROM tailsight_samples WHERE metric NOT IN {OWN} GROUP BY ALL ORDER BY ALL"
    assert engine.read(statement, "TSV").body.decode().split() == ["c", "1", "g", "1", "kept", "3"]
