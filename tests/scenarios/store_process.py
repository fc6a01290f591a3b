"""An embedded store behind its gateway, as a process of its own: to the tests of this folder a server, to be killed.

python -m tests.scenarios.store_process FOLDER PORT TOKEN    prints `ready`, serves until it is killed
"""

import asyncio
import sys
from pathlib import Path

import uvicorn

from storage.gateway import Gateway
from storage.migrate import migrate
from storage.open import open_owned
from storage.settings import StoreSettings


async def serve(folder: Path, port: int, token: str) -> None:
    store = open_owned(StoreSettings(url=f"chdb://{folder}"))
    migrate(store)
    config = uvicorn.Config(Gateway(store, token), port=port, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # uvicorn offers no event
        await asyncio.sleep(0.01)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await serving


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
