"""Four settled days of the made-up cloud (`fixture_data`): what its 32 GPUs did each hour, and for whom.

Six replicas of a 70B on four GPUs each, four of a reranker on one each, and four GPUs that no pod has. Nights are
quiet; in one night the fabric stalls gpu-07-03.
"""

import math
from datetime import timedelta

import polars as pl

from analytics.cost.gpu_time import BUSY
from domain.cost import IdleCause
from domain.window import Window
from storage.cost_hours import GPU_HOURS, REQUEST_HOURS, UNSETTLED, read_unsettled_hours
from storage.frames import TIME
from storage.store import Store
from tests.browser.fixture_data import NOW

END = NOW.replace(minute=0)
HOURS = 96
GPU_MODEL = "NVIDIA H100 80GB HBM3"
TENANTS = {"acme-search": 0.6, "northwind": 0.3, "contoso": 0.1}

_CHAT = {f"chat-{number}": f"gpu-07-{number // 2 + 1:02}" for number in range(6)}
_RERANK = {f"rerank-{number}": "gpu-07-04" for number in range(4)}
_PLACES = [
    *((node, replica, "chat", "llama-70b", 4) for replica, node in _CHAT.items()),
    *((node, replica, "rerank", "bge-reranker", 1) for replica, node in _RERANK.items()),
    ("gpu-07-04", None, None, None, 4),
]


def settle_days(store: Store) -> None:
    """Write what `analytics.cost.jobs.settle` would have, of the days before NOW."""
    window = Window(END - timedelta(hours=HOURS), END)
    gpus, requests = [], []
    for hour in range(HOURS):
        begin = window.start + timedelta(hours=hour)
        busy = 0.45 + 0.3 * math.sin((begin.hour - 8) / 24 * 2 * math.pi)
        for node, replica, service, model, count in _PLACES:
            place = {"time": begin, "node": node, "replica": replica, "service": service, "model": model}
            stalled = 0.2 if node == "gpu-07-03" and 60 <= hour < 72 else 0.0
            states = {BUSY: busy, IdleCause.NO_TRAFFIC: 1 - busy - stalled, IdleCause.STALLED_ON_FABRIC: stalled}
            for state, share in (states if replica else {IdleCause.UNALLOCATED: 1.0}).items():
                gpus += [
                    {**place, "gpu": f"GPU-{node}-{replica}-{number}", "state": str(state), "seconds": share * 3_600}
                    for number in range(count)
                    if share > 0
                ]
            if replica is None:
                continue
            for tenant, share in TENANTS.items():
                asked = {**place, "version": "1.4.2", "tenant": tenant, "is_error": tenant == "contoso"}
                engine_ms = busy * share * 3.6e6
                tokens = {"input_tokens": round(90_000 * share), "output_tokens": round(20_000 * share)}
                requests.append(
                    {
                        **asked,
                        **tokens,
                        "requests": round(100 * share),
                        "engine_ms": engine_ms,
                        "input_engine_ms": engine_ms / 4,
                    }
                )
    shared = {"gpu_model": GPU_MODEL, "pool": "prod", "slice_ratio": 1.0}
    _insert(store, "tailsight_gpu_hours", pl.DataFrame([{**row, **shared} for row in gpus], schema=GPU_HOURS))
    told = pl.DataFrame([{**row, "pool": "prod"} for row in requests], schema=REQUEST_HOURS)
    _insert(store, "tailsight_request_hours", told)
    settled = read_unsettled_hours(store, window)
    store.insert(
        "tailsight_cost_hours",
        settled.with_columns(settled_at=pl.lit(NOW, dtype=TIME)).select(*UNSETTLED, "settled_at"),
    )


def _insert(store: Store, table: str, rows: pl.DataFrame) -> None:
    settled_at = pl.lit(NOW, dtype=TIME).alias("settled_at")
    store.insert(table, rows.with_columns(pl.col(pl.String).fill_null(""), settled_at).rename({"time": "hour"}))
