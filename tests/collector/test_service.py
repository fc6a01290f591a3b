"""The collector as a whole: from its doors to the store's tables, and its end."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import CollectorRegistry

from collector.errors import LogUnavailableError
from collector.service import Collector
from collector.settings import CollectorSettings, FileTargets, ScrapeSettings, ScrapeTarget, WalSettings
from collector.wal import segments_in
from storage.store import Store
from tests.collector.conftest import Ask
from tests.collector.payloads import trace_request
from tests.collector.test_scrape import DCGM, endpoint

SETTINGS = CollectorSettings(wal=WalSettings(segment_age_s=3600))


async def post(collector: Collector, payload: bytes) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(collector.otlp_app), base_url="http://x") as client:
        answer = await client.post("/v1/traces", content=payload, headers={"content-type": "application/x-protobuf"})
        return answer.status_code


def test_spans_that_were_acknowledged_are_in_the_store_after_a_flush(
    clean_store: Store, ask: Ask, tmp_path: Path, registry: CollectorRegistry
) -> None:
    collector = Collector(SETTINGS, clean_store, tmp_path, registry)
    collector.start()
    assert asyncio.run(post(collector, trace_request(time.time_ns(), spans=3))) == 200
    assert collector.flush(60)
    assert ask("SELECT count() AS n FROM otel_traces") == [{"n": 3}]
    collector.close()


def test_with_a_server_what_is_loaded_leaves_the_log(
    clean_store: Store, ask: Ask, tmp_path: Path, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where there is no folder of ours
    wal = WalSettings(folder=tmp_path / "log", checkpoint_s=0)
    collector = Collector(SETTINGS.model_copy(update={"wal": wal}), clean_store, None, registry)
    collector.start()
    assert asyncio.run(post(collector, trace_request(time.time_ns(), spans=3))) == 200
    assert collector.drain(60)
    collector.close()
    assert ask("SELECT count() AS n FROM otel_traces") == [{"n": 3}]
    assert segments_in(tmp_path / "log") == []
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_draining_loads_all_and_takes_no_more(
    clean_store: Store, ask: Ask, tmp_path: Path, registry: CollectorRegistry
) -> None:
    collector = Collector(SETTINGS, clean_store, tmp_path, registry)
    collector.start()
    asyncio.run(post(collector, trace_request(time.time_ns(), spans=3)))
    assert collector.drain(60)
    assert asyncio.run(post(collector, trace_request(time.time_ns()))) == 503
    collector.close()
    assert ask("SELECT count() AS n FROM otel_traces") == [{"n": 3}]
    assert segments_in(tmp_path / "wal") == []


def test_what_was_not_loaded_is_loaded_by_the_next_process(clean_store: Store, ask: Ask, tmp_path: Path) -> None:
    first = Collector(SETTINGS, clean_store, tmp_path, CollectorRegistry())  # never started: it loads nothing
    asyncio.run(post(first, trace_request(time.time_ns(), spans=3)))
    assert first.loading()[1] is not None, "something waits"
    first.close()
    second = Collector(SETTINGS, clean_store, tmp_path, CollectorRegistry())
    second.start()
    assert second.flush(60)
    assert second.loading() == (True, None)
    second.close()
    assert ask("SELECT count() AS n FROM otel_traces") == [{"n": 3}]


def test_a_log_that_is_written_no_more_is_told_beside_the_loader(
    clean_store: Store, tmp_path: Path, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(_handle: int) -> None:
        raise RuntimeError("a defect")

    collector = Collector(SETTINGS, clean_store, tmp_path, registry)
    collector.start()
    assert collector.loading() == (True, None)
    monkeypatch.setattr(os, "fdatasync", defect)
    assert asyncio.run(post(collector, trace_request(time.time_ns()))) == 503
    assert collector.flush(60), "nothing that was acknowledged is left"
    assert collector.loading() == (False, None)
    collector.close()


def test_scraped_samples_come_into_the_store(
    clean_store: Store, ask: Ask, tmp_path: Path, registry: CollectorRegistry, counted: Callable[..., float]
) -> None:
    collector = Collector(SETTINGS, clean_store, tmp_path, registry)
    collector.start()

    async def scrape() -> None:
        async with endpoint(DCGM) as url:
            target = ScrapeTarget(job="gpus", source="dcgm", url=url, labels={"node": "gpu-node-07"})
            scraping = asyncio.create_task(collector.scrape_forever([target]))
            while not counted("scrapes_total", job="gpus", result="ok"):  # noqa: ASYNC110  # a counter wakes nobody
                await asyncio.sleep(0.01)
            scraping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await scraping

    asyncio.run(asyncio.wait_for(scrape(), 30))
    assert collector.flush(60)
    collector.close()
    (row,) = ask("SELECT * FROM otel_metrics_gauge WHERE MetricName = 'DCGM_FI_DEV_GPU_UTIL'")
    assert row["Value"] == 93
    assert row["Attributes"] == {"gpu": "0", "node": "gpu-node-07"}
    assert row["ServiceName"] == "gpus"
    assert ask("SELECT node FROM tailsight_series WHERE metric = 'dcgm_fi_dev_gpu_util'") == [{"node": "gpu-node-07"}]


def test_targets_that_a_file_lists_are_scraped(
    clean_store: Store, tmp_path: Path, registry: CollectorRegistry, counted: Callable[..., float]
) -> None:
    listed = tmp_path / "targets.json"
    files = FileTargets(job="gpus", source="dcgm", files=(str(listed),), refresh_s=0.01)
    settings = SETTINGS.model_copy(update={"scrape": ScrapeSettings(files=(files,))})
    collector = Collector(settings, clean_store, tmp_path / "collector", registry)

    async def discover() -> None:
        async with endpoint(DCGM) as url:
            discovering = asyncio.create_task(collector.discover_forever())
            listed.write_text(json.dumps([{"targets": [url.removeprefix("http://").removesuffix("/metrics")]}]))
            while not counted("scrapes_total", job="gpus", result="ok"):  # noqa: ASYNC110  # a counter wakes nobody
                await asyncio.sleep(0.01)
            discovering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await discovering

    asyncio.run(asyncio.wait_for(discover(), 30))
    collector.close()


def test_an_unwritable_data_folder_is_told_at_start(store: Store, tmp_path: Path, registry: CollectorRegistry) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(LogUnavailableError, match="name another data folder"):
        Collector(SETTINGS, store, tmp_path / "data", registry)


def test_concurrent_senders_are_each_counted_once(
    clean_store: Store, ask: Ask, tmp_path: Path, registry: CollectorRegistry
) -> None:
    collector = Collector(CollectorSettings(wal=WalSettings(segment_age_s=0.05)), clean_store, tmp_path, registry)
    collector.start()
    payloads = [trace_request(time.time_ns(), spans=5) for _ in range(40)]

    async def send_all() -> list[int]:
        return await asyncio.gather(*(post(collector, payload) for payload in payloads))

    assert set(asyncio.run(send_all())) == {200}
    assert collector.flush(60)
    collector.close()
    sent = {
        span.span_id.hex()
        for payload in payloads
        for span in ExportTraceServiceRequest.FromString(payload).resource_spans[0].scope_spans[0].spans
    }
    stored = [row["SpanId"] for row in ask("SELECT SpanId FROM otel_traces")]
    assert (len(stored), set(stored)) == (len(sent), sent)
    assert (
        json.dumps(ask("SELECT sum(requests) AS n FROM tailsight_request_rollup WHERE measure != 'ttft'"))
        == '[{"n": 200}]'
    )
