"""A collector with an embedded store as a process of its own, to be killed by the tests of this folder.

python -m tests.scenarios.collector_process serve FOLDER    prints the port, serves until SIGTERM, drains, tells metrics
python -m tests.scenarios.collector_process report FOLDER   prints what the store holds, as one JSON object
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest

from collector.service import Collector
from collector.settings import CollectorSettings, WalSettings
from storage.migrate import migrate
from storage.open import open_owned
from storage.settings import StoreSettings
from tests.scenarios.senders import found_in

# Small and quick, so that each moment of a segment's life is hit: open, closed, half loaded, loaded, removed.
WAL = WalSettings(segment_bytes_max=1 << 18, segment_age_s=0.1, checkpoint_s=0.5)


async def serve(folder: Path) -> None:
    store = open_owned(StoreSettings(url=f"chdb://{folder}"))
    migrate(store)
    registry = CollectorRegistry()
    collector = Collector(CollectorSettings(wal=WAL), store, folder, registry)
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
    drained = await asyncio.to_thread(collector.drain, 300)
    sys.stdout.write(generate_latest(registry).decode())
    sys.stdout.flush()
    collector.close()
    store.close()
    sys.exit(0 if drained else 1)


def report(folder: Path) -> None:
    store = open_owned(StoreSettings(url=f"chdb://{folder}"))
    answers = found_in(store)
    store.close()
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    command, data_folder = sys.argv[1], Path(sys.argv[2])
    if command == "serve":
        asyncio.run(serve(data_folder))
    else:
        report(data_folder)
