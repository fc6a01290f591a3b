"""Good and all events of an objective out of the store, against a loop over the records."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from analytics.jobs.objectives import PastCounts, RecentCounts, StoredCounts, backtest_counts, slo_counts
from analytics.knowledge import shipped_knowledge
from domain.incident import Indicator
from domain.slo import Objective, Selection
from domain.window import Window
from storage.store import Store
from tests import naive

KNOWLEDGE = shipped_knowledge()
START = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
HOUR = Window(START, START + timedelta(hours=1))
COLUMNS = {
    "time": pl.Datetime("us", "UTC"),
    "decode_ms": pl.Float64,
    "ttft_ms": pl.Float64,
    "output_tokens": pl.UInt32,
}


def some_requests(seed: int) -> list[dict[str, Any]]:
    """Requests of a service, with all that may be missing of one missing of some."""
    chance = random.Random(seed)

    def perhaps(value: float, share: float = 0.8) -> float | None:
        return value if chance.random() < share else None

    found = []
    for _ in range(1500):
        ttft_ms = chance.uniform(50, 1500)
        found.append(
            {
                "time": START + timedelta(seconds=chance.uniform(0, 3599)),
                "service": "chat",
                "model": chance.choice(["large", "small", ""]),
                "version": chance.choice(["v1", "v2"]),
                "tenant": chance.choice(["acme", "umbrella"]),
                "pool": chance.choice(["blue", "green"]),
                "is_error": chance.random() < 0.1,
                "ttft_ms": perhaps(ttft_ms),
                "latency_ms": ttft_ms + chance.uniform(0, 8000),
                "decode_ms": perhaps(chance.uniform(0, 8000), 0.5),
                "output_tokens": chance.choice([None, 0, 1, 2, 3, 40, 200]),
            }
        )
    return found


SELECTIONS = [
    Selection(),
    Selection(model="large"),
    Selection(model="small", version="v2", tenant="acme", pool="blue"),
]


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("indicator", [*list(Indicator)[:4], Indicator.GOODPUT])
def test_requests_are_counted_as_by_a_loop_over_the_records(
    any_store: Store, indicator: Indicator, selection: Selection
) -> None:
    requests = some_requests(seed=4)
    other = [{**one, "service": "other"} for one in requests[:100]]
    any_store.insert("tailsight_requests", pl.DataFrame(requests + other, schema_overrides=COLUMNS))
    threshold_ms = {Indicator.ERRORS: None, Indicator.LATENCY: 3000.0, Indicator.TPOT: 40.0}.get(indicator, 700.0)
    pace_ms = 60.0 if indicator is Indicator.GOODPUT else None
    objective = Objective("x", "chat", indicator, 0.9, 30, threshold_ms, tpot_threshold_ms=pace_ms, selection=selection)
    counts = slo_counts(any_store, objective, HOUR, KNOWLEDGE)
    found = {time: (total, good) for time, total, good in counts.iter_rows() if total}
    assert found == naive.request_events(requests, objective)
    assert 0 < counts["good"].sum() < counts["total"].sum()


def test_a_minute_with_a_queue_and_no_request_is_too_slow(any_store: Store) -> None:
    requests = [
        {"time": START + timedelta(minutes=number, seconds=second), "service": "chat", "replica": "chat-0"}
        for number in (0, 1, 5)
        for second in range(60 if number else 20)
    ]
    any_store.insert("tailsight_requests", pl.DataFrame(requests, schema_overrides={"time": COLUMNS["time"]}))
    store_series(any_store, 1, "vllm:num_requests_waiting", replica="chat-0")
    store_series(any_store, 2, "vllm:num_requests_waiting", replica="rerank-0")
    store_samples(any_store, 1, "vllm:num_requests_waiting", {2: 7.0, 3: 0.0})
    store_samples(any_store, 2, "vllm:num_requests_waiting", {4: 9.0})
    objective = Objective("x", "chat", Indicator.THROUGHPUT, 0.9, 30, floor_per_s=1.0)
    assert told(slo_counts(any_store, objective, HOUR, KNOWLEDGE)) == {0: (1, 0), 1: (1, 1), 2: (1, 0), 5: (1, 1)}


def test_what_waits_is_told_by_the_metrics_of_a_site(any_store: Store) -> None:
    request = {"time": START, "service": "chat", "replica": "chat-0"}
    any_store.insert("tailsight_requests", pl.DataFrame([request], schema_overrides={"time": COLUMNS["time"]}))
    store_series(any_store, 1, "acme_waiting", replica="chat-0")
    store_samples(any_store, 1, "acme_waiting", {2: 7.0})
    ours = replace(KNOWLEDGE.signals["waiting_requests"], metrics=("acme_waiting",))
    own = replace(KNOWLEDGE, signals={**KNOWLEDGE.signals, "waiting_requests": ours})
    objective = Objective("x", "chat", Indicator.THROUGHPUT, 0.9, 30, floor_per_s=1.0)
    assert told(slo_counts(any_store, objective, HOUR, KNOWLEDGE)) == {0: (1, 0)}
    expected = {0: (1, 0), 2: (1, 0)}
    assert told(slo_counts(any_store, objective, HOUR, own)) == expected
    for counts in (StoredCounts(any_store, own), RecentCounts(any_store, own), PastCounts(any_store, HOUR, own)):
        assert told(counts.of(objective, HOUR.end, START)) == expected
    assert told(backtest_counts(any_store, objective, HOUR, own)) == expected


@pytest.mark.parametrize("data", ["requests", "samples"])
def test_data_is_fresh_until_the_newest_is_too_old(any_store: Store, data: Any) -> None:
    came = [START + timedelta(minutes=number) for number in (2, 3, 20)]
    if data == "requests":
        requests = [{"time": time, "service": "chat"} for time in came]
        any_store.insert("tailsight_requests", pl.DataFrame(requests, schema_overrides={"time": COLUMNS["time"]}))
    else:
        store_series(any_store, 1, "dcgm_fi_dev_gpu_util", first=came[0], last=came[-1])
        store_samples(any_store, 1, "dcgm_fi_dev_gpu_util", {2: 1.0, 3: 1.0, 20: 1.0})
        store_series(any_store, 2, "up", first=START, last=HOUR.end)  # ours, and no data of the target's own
        store_samples(any_store, 2, "up", dict.fromkeys(range(60), 0.0))
    objective = Objective("x", "chat", Indicator.DATA_FRESHNESS, 0.9, 30, age_max_s=300.0, data=data)
    since = [(time - START).total_seconds() for time in came]
    assert told(slo_counts(any_store, objective, HOUR, KNOWLEDGE)) == naive.freshness_events(since, range(60), 300.0)


def test_gpus_are_counted_as_by_a_loop_over_the_samples(any_store: Store) -> None:
    """Two nodes: on the first a GPU has an XID of the hardware and another is lost, the second does not answer."""
    gpus: dict[tuple[str, str], dict[int, bool]] = {
        ("n1:9400", "GPU-0"): dict.fromkeys(range(60), True),
        ("n1:9400", "GPU-1"): {number: not 20 <= number < 30 for number in range(60)},
        ("n1:9400", "GPU-2"): dict.fromkeys(range(40), True),
        ("n2:9400", "GPU-3"): {number: True for number in range(60) if not 10 <= number < 15},
    }
    up = {
        "n1:9400": dict.fromkeys(range(60), True),
        "n2:9400": {number: not 10 <= number < 15 for number in range(60)},
    }
    for number, ((exporter, gpu), minutes) in enumerate(gpus.items()):
        whose = {"job": "dcgm", "instance": exporter, "gpu": gpu, "node": exporter.split(":")[0]}
        span = {"first": START + timedelta(minutes=min(minutes)), "last": START + timedelta(minutes=max(minutes))}
        for metric, offset in (("dcgm_fi_dev_gpu_util", 0), ("dcgm_fi_dev_xid_errors", 100)):
            store_series(any_store, offset + number, metric, **whose, **span)
        store_samples(any_store, number, "dcgm_fi_dev_gpu_util", dict.fromkeys(minutes, 50.0))
        xids = {minute: 31.0 if healthy else 79.0 for minute, healthy in minutes.items()}
        store_samples(any_store, 100 + number, "dcgm_fi_dev_xid_errors", xids)
    for number, (exporter, answers) in enumerate(up.items()):
        store_series(any_store, 200 + number, "up", job="dcgm", instance=exporter)
        store_samples(any_store, 200 + number, "up", {minute: float(said) for minute, said in answers.items()})

    def counted(node: str | None) -> dict[int, tuple[int, int]]:
        selection = Selection(node=node)
        objective = Objective("x", "fleet", Indicator.GPU_AVAILABILITY, 0.99, 30, selection=selection)
        return told(slo_counts(any_store, objective, HOUR, KNOWLEDGE))

    assert counted(None) == naive.gpu_events(gpus, up, range(60), 30 * 1440)
    assert counted(None)[12] == (3, 3), "of a node that does not answer nothing is known"
    assert counted(None)[45] == (4, 3), "a GPU is missed that another told of"
    of_first = {who: minutes for who, minutes in gpus.items() if who[0] == "n1:9400"}
    assert counted("n1*") == naive.gpu_events(of_first, up, range(60), 30 * 1440)
    assert counted("n_") == {}, "an underscore stands for itself"


def test_what_is_kept_in_memory_is_what_would_be_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = Objective("x", "kept-in-memory", Indicator.ERRORS, 0.9, 30)
    wanted = replace(objective, name="y", target_ratio=0.99)  # of the same events
    recent = RecentCounts(store, KNOWLEDGE)
    asked: list[timedelta] = []
    query = store.query

    def counted(name: str, *given: Any, **parameters: Any) -> pl.DataFrame:
        if name == "slo_counts":
            asked.append(parameters["end"] - parameters["start"])
        return query(name, *given, **parameters)

    monkeypatch.setattr(store, "query", counted)

    def send(*moments: datetime) -> None:
        rows = [{"time": one, "service": objective.service, "is_error": one.second % 2 == 1} for one in moments]
        store.insert("tailsight_requests", pl.DataFrame(rows, schema_overrides={"time": COLUMNS["time"]}))

    def known(now: datetime, days: float) -> tuple[pl.DataFrame, timedelta]:
        """What is told, and how much was read for it."""
        asked.clear()
        found = recent.of(wanted, now, now - timedelta(days=days))
        return found.sort("time"), sum(asked, timedelta())

    def stored(now: datetime, days: float) -> pl.DataFrame:
        counts = slo_counts(store, objective, Window(now - timedelta(days=days + 1), now), KNOWLEDGE)
        return counts.filter(pl.col("time") >= now - timedelta(days=days))

    now = START
    send(*(now - timedelta(minutes=17 * number, seconds=number) for number in range(1, 1000)))
    found, _ = known(now, 3)
    assert found.equals(stored(now, 3))
    found, _ = known(now, 8)
    assert found.equals(stored(now, 8)), "more was asked for than was known"
    for minutes in (1, 4, 30):
        now += timedelta(minutes=minutes, seconds=7)
        send(now - timedelta(seconds=3), now - timedelta(minutes=9))
        for days in (8, 3):
            found, read = known(now, days)
            assert found.equals(stored(now, days))
            assert read < timedelta(hours=1)
    month_start = now - timedelta(days=8)
    for _ in range(3):  # as the window of a calendar, whose beginning stays
        now += timedelta(minutes=5)
        asked.clear()
        recent.of(wanted, now, month_start)
        assert sum(asked, timedelta()) < timedelta(hours=1)
    send(now - timedelta(days=2))
    now += timedelta(minutes=1)
    assert not known(now, 8)[0].equals(stored(now, 8)), "so late it is seen with the next reading of all"
    now += timedelta(hours=6)
    assert known(now, 8)[0].equals(stored(now, 8))
    earlier = now - timedelta(days=1)
    assert known(earlier, 3)[0].filter(pl.col("time") < earlier).equals(stored(earlier, 3))


def told(counts: pl.DataFrame) -> dict[int, tuple[int, int]]:
    """(all, good) by the number of the minute."""
    return {round((time - START).total_seconds() / 60): (total, good) for time, total, good in counts.iter_rows()}


def store_series(
    store: Store, series_id: int, metric: str, *, first: datetime = START, last: datetime = HOUR.end, **labels: str
) -> None:
    row = {"metric": metric, "series_id": series_id, "first_seen": first, "last_seen": last, **labels}
    schema = {"series_id": pl.UInt64, "first_seen": pl.Datetime("ms", "UTC"), "last_seen": pl.Datetime("ms", "UTC")}
    store.insert("tailsight_series", pl.DataFrame([row], schema_overrides=schema))


def store_samples(store: Store, series_id: int, metric: str, values: dict[int, float]) -> None:
    rows = [
        {"metric": metric, "series_id": series_id, "time": START + timedelta(minutes=number), "value": value}
        for number, value in values.items()
    ]
    schema = {"series_id": pl.UInt64, "time": pl.Datetime("ms", "UTC")}
    store.insert("tailsight_samples", pl.DataFrame(rows, schema_overrides=schema))
