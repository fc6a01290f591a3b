"""Names that callers choose, of models above all: however many there are, what is asked is answered, and adds up."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from analytics.jobs.explaining import sampling
from analytics.jobs.objectives import default_objectives
from domain.window import Window
from storage.readers import read_latency, read_services, read_traffic
from storage.store import Store
from tests.contract.request_rows import insert_requests

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
BEGAN = NOW - timedelta(hours=1)
DAY = Window(NOW - timedelta(days=1), NOW)


def insert_models(store: Store, service: str, models: list[str], ttft_ms: float | None = None) -> None:
    """A request of each of these models."""
    size = len(models)
    columns = {"latency_ms": [100.0] * size, "ttft_ms": pl.Series([ttft_ms] * size, dtype=pl.Float64)}
    insert_requests(store, BEGAN, np.arange(size) / 10.0, service=[service] * size, model=models, **columns)


def test_of_a_service_the_busiest_models_are_told_and_all_others_as_one_row_without_a_model(any_store: Store) -> None:
    random = [f"lora-{number:04}" for number in range(1100)]
    insert_models(any_store, "chat", [*random, *random[:99], "llama-70b", *["llama-70b"] * 9, "", ""], ttft_ms=20.0)
    insert_models(any_store, "embed", ["small"])

    services = read_services(any_store, DAY)

    assert services.row(0) == ("chat", None, 1100 - 99 + 2, 1100 - 99 + 2)
    assert services.row(1) == ("chat", "llama-70b", 10, 10)
    assert services.filter(pl.col("service") == "chat")["model"].to_list()[2:] == random[:99]
    assert services.row(-1) == ("embed", "small", 1, 0)
    assert services.height == 102
    assert services["requests"].sum() == 1100 + 99 + 10 + 2 + 1
    assert sampling(read_services(any_store, DAY, "chat")) == 1


def test_requests_without_a_model_are_one_row_where_all_models_are_told(any_store: Store) -> None:
    insert_models(any_store, "chat", ["", "", "a", *["b"] * 3])
    assert read_services(any_store, DAY).select("model", "requests").rows() == [("b", 3), (None, 2), ("a", 1)]


def test_a_thousand_models_keep_no_service_from_an_objective(any_store: Store) -> None:
    insert_models(any_store, "chat", [f"lora-{number}" for number in range(1100)])
    names = [one.name for one in default_objectives(any_store, NOW)]
    assert names == ["chat-availability", "chat-latency"]


def test_requests_of_some_models_are_read_without_the_others(any_store: Store) -> None:
    insert_models(any_store, "chat", ["", "a", "a", "b"])
    for read in (read_latency, read_traffic):
        by_models = [
            read(any_store, DAY, "chat", 3600, models=models)["requests"].to_list()
            for models in ((), ["a"], [None], ["a", None], ["c"])
        ]
        assert by_models == [[4], [2], [1], [3], []]
