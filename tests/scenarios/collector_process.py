"""A collector with an embedded store as a process of its own, to be killed by tests/scenarios/test_crash_safety.py.

python -m tests.scenarios.collector_process serve FOLDER    prints the port, serves until SIGTERM, then drains
python -m tests.scenarios.collector_process report FOLDER   prints what the store holds, as one JSON object
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry

from collector.service import Collector
from collector.settings import CollectorSettings, WalSettings
from storage.migrate import migrate
from storage.open import open_owned
from storage.settings import StoreSettings

# Small and quick, so that each moment of a segment's life is hit: open, closed, half loaded, loaded, removed.
WAL = WalSettings(segment_bytes_max=1 << 18, segment_age_s=0.1, checkpoint_s=0.5)

REPORT = {
    "span_counts": "SELECT SpanId, count() FROM otel_traces GROUP BY SpanId",
    "request_counts": "SELECT trace_id, count() FROM tailsight_requests GROUP BY trace_id",
    "rollup_requests": "SELECT 'all', sum(requests) FROM tailsight_request_rollup WHERE measure != 'ttft'",
    "quarantined": "SELECT 'all', count() FROM tailsight_quarantine",
}


async def serve(folder: Path) -> None:
    store = open_owned(StoreSettings(url=f"chdb://{folder}"))
    migrate(store)
    collector = Collector(CollectorSettings(wal=WAL), store, folder, CollectorRegistry())
    collector.start()
    server = uvicorn.Server(uvicorn.Config(collector.otlp_app, port=0, log_level="warning", lifespan="off"))
    # uvicorn raises the signal again when it has stopped; by default that would end the process before it drains.
    signal.signal(signal.SIGTERM, lambda *_: None)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn offers no event
        await asyncio.sleep(0.01)
    sys.stdout.write(f"{server.servers[0].sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await serving  # until SIGTERM
    drained = await asyncio.to_thread(collector.drain, 30)
    collector.close()
    store.close()
    sys.exit(0 if drained else 1)


def report(folder: Path) -> None:
    store = open_owned(StoreSettings(url=f"chdb://{folder}"))
    assert store.engine is not None
    answers = {}
    for name, statement in REPORT.items():
        lines = store.engine.read(statement, "TSV").body.decode().splitlines()
        answers[name] = {key: int(count) for key, count in (line.split("\t") for line in lines)}
    store.close()
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    command, data_folder = sys.argv[1], Path(sys.argv[2])
    if command == "serve":
        asyncio.run(serve(data_folder))
    else:
        report(data_folder)
