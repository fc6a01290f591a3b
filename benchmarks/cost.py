"""What a request cost, held against the truth: how far estimates, and the ways of others, are from the log of steps.

    make bench-cost [BENCH_ARGS="--data FOLDER --seed 0"]

1. One replica is played step by step with real lengths and arrivals (Azure LLM 2023, Mooncake FAST'25 conversation),
   from light load to saturated, each step 3 % noise. The log of steps gives each request's exact Shapley share; the
   estimate sees what spans and /metrics tell, with the step model of the table. Shares are scaled to what the replica
   was busy, and compared request by request. Beside it: the step model by the name alone, which says nothing of the
   70B's fp8 weights, so it is that of bf16; one fitted to the requests themselves; latency alone, no stages; one
   request in ten and in a hundred, with the gauge of running sequences; the share by duration; and OpenCost's way (the
   cost split into input and output by the sums of prefill time and time per output token, then by tokens).
2. The same by tenant and hour: the sums that rollups keep.
3. Bills of random fleets against the sum of their parts.

The recordings are not part of the repository: `--data`, by default ../shared/data/workloads beside it. The last line is
one JSON object.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from analytics.cost.attribution import REQUEST_HOURS, allocate
from analytics.cost.gpu_time import BUSY, GPU_TIME
from analytics.cost.price_book import gpu_costs, price_book_of
from analytics.cost.request_shares import estimated_shares, shares_from_steps
from analytics.cost.step_models import StepModel, fit_step_model, step_model_for
from benchmarks.server import machine
from domain.cost import NANOUSD, IdleCause
from simulator.batching import Batching, Played, play
from simulator.cloud import GPU_MODEL_NAME
from simulator.physics import LLAMA_8B_BF16_TP1, LLAMA_70B_FP8_TP4, ServedModel
from simulator.workload import BLOCK_TOKENS, tenant_shares

Floats = NDArray[np.float64]

NOISE_RATIO = 0.03
MAX_SEQUENCES = 128
TENANTS = 20
STAGES = ("queue_ms", "prefill_ms", "decode_ms")
GOALS = (0.05, 0.15)  # of the error of a request: median, p95


@dataclass(frozen=True, slots=True)
class Case:
    """A replica and its traffic: `share` of a trace's arrivals, drawn at random."""

    name: str
    trace: str
    share: float
    model: ServedModel
    set_up: Mapping[str, float] = field(default_factory=dict)

    def batching(self, seed: int) -> Batching:
        """How the replica is set up."""
        usual = {"kv_capacity_tokens": self.model.kv_capacity_tokens, "max_sequences": MAX_SEQUENCES}
        return Batching(**{**usual, "noise_ratio": NOISE_RATIO, "seed": seed, **self.set_up})

    def known(self, weights: str | None = None) -> StepModel:
        """What the table says of the model by its name; of these weights, if they are known."""
        found = step_model_for(self.model.name, GPU_MODEL_NAME, self.model.tensor_parallel, weights)
        if found is None:
            raise LookupError(f"{self.model.name} is in no table")
        return found

    def true(self) -> StepModel:
        """The same, and the weights are known."""
        return self.known("fp8" if self.model.bytes_per_weight == 1 else "bf16")


LARGE, SMALL = LLAMA_70B_FP8_TP4, LLAMA_8B_BF16_TP1
CASES = (
    Case("chat, light", "conv", 0.03, LARGE),
    Case("chat, usual", "conv", 0.3, LARGE),
    Case("chat, heavy", "conv", 1.0, LARGE),
    Case("chat, 2,048 tokens a step", "conv", 1.0, LARGE, {"step_tokens": 2048}),
    Case("chat, saturated: 16 sequences", "conv", 1.0, LARGE, {"max_sequences": 16}),
    Case("chat, saturated: cache of 20k", "conv", 1.0, LARGE, {"kv_capacity_tokens": 20_000}),
    Case("chat, light", "conv", 0.1, SMALL),
    Case("chat, heavy", "conv", 1.0, SMALL),
    Case("code", "code", 1.0, LARGE),
    Case("code", "code", 1.0, SMALL),
    Case("long, light", "long", 0.1, LARGE),
    Case("long, saturated", "long", 0.4, LARGE),
    Case("long, 2,048 tokens a step", "long", 0.4, LARGE, {"step_tokens": 2048}),
    Case("long, saturated: cache of 200k", "long", 0.6, LARGE, {"kv_capacity_tokens": 200_000}),
    Case("long, usual", "long", 0.4, SMALL),
)
BEYOND = Case(
    "long, cache of 200k, no prefix caching",
    "long",
    0.6,
    LARGE,
    {"kv_capacity_tokens": 200_000, "prefix_caching": False},
)
"""Where preempted sequences compute their prompts again and again, which no span tells: no part of the figures."""


def arrivals(folder: Path, trace: str, share: float, seed: int) -> pl.DataFrame:
    """The arrivals of a trace, in order: time, input_tokens, cached_tokens, output_tokens, tenant.

    Of Mooncake, what is cached is the leading blocks that an earlier prompt had too (an endless cache); of Azure's
    nothing is known of prefixes. Tenants are drawn by Zipf's law.
    """
    if trace == "long":
        found = pl.read_parquet(folder / "mooncake_fast25" / "requests.parquet")
        found = found.filter(pl.col("workload") == "conversation").sort("timestamp_ms", maintain_order=True)
        prompts, moments = found["input_length"], pl.from_epoch(found["timestamp_ms"], time_unit="ms")
        cached, output = pl.Series(_cached(found["hash_ids"], prompts)), found["output_length"]
    else:
        found = pl.read_parquet(folder / "azure_llm_2023" / "requests.parquet")
        found = found.filter(pl.col("service") == trace).sort("ts", maintain_order=True)
        prompts, moments, output = found["context_tokens"].clip(1), found["ts"], found["generated_tokens"]
        cached = pl.zeros(found.height, pl.Int64, eager=True)
    randomness = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "time": moments.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "input_tokens": prompts,
            "cached_tokens": cached,
            "output_tokens": output.clip(1),
            "tenant": randomness.choice(TENANTS, found.height, p=tenant_shares(TENANTS)),
            "replica": ["replica"] * found.height,
        }
    )
    return frame.filter(pl.Series(randomness.random(found.height) < share))


def _cached(blocks_of: pl.Series, prompts: pl.Series) -> list[int]:
    """Whole blocks at the head of each prompt that were seen before; the last token is always computed."""
    seen: set[int] = set()
    cached = []
    for blocks, prompt in zip(blocks_of.to_list(), prompts.to_list(), strict=True):
        fresh = next((place for place, block in enumerate(blocks) if block not in seen), len(blocks))
        seen.update(blocks)
        cached.append(min(fresh, (prompt - 1) // BLOCK_TOKENS) * BLOCK_TOKENS)
    return cached


def errors(estimate: Floats, truth: Floats) -> Floats:
    """Relative error of each part, when both add up to the same."""
    return np.abs(estimate / estimate.sum() * truth.sum() - truth) / truth


def by_duration(requests: pl.DataFrame) -> Floats:
    """The share by how long a request took."""
    return requests["latency_ms"].to_numpy()


def by_opencost(requests: pl.DataFrame) -> Floats:
    """Prices of a computed input token and of an output token from the two sums of time, times the tokens."""
    fresh = (requests["input_tokens"] - requests["cached_tokens"]).to_numpy()
    output = requests["output_tokens"].to_numpy()
    prefill_ms, decode_ms = requests["prefill_ms"].sum(), requests["decode_ms"].sum()
    return prefill_ms * fresh / fresh.sum() + decode_ms * output / output.sum()


def estimates(played: Played, case: Case, seed: int) -> dict[str, tuple[Floats, NDArray[np.bool_]]]:
    """By way: the weights, and which requests they are of."""
    requests, model = played.requests, case.true()
    running = played.scrapes.select(
        pl.lit("replica").alias("replica"), "time", pl.col("num_requests_running").alias("value")
    )
    luck = np.random.default_rng([seed, 1]).random(requests.height)
    everyone = np.ones(requests.height, dtype=bool)
    stageless = requests.with_columns(pl.lit(None, pl.Float64).alias(name) for name in STAGES)
    found = {
        "per_request": (estimated_shares(requests, running, model).to_numpy(), everyone),
        "name_alone": (estimated_shares(requests, None, case.known()).to_numpy(), everyone),
        "fitted": (estimated_shares(requests, None, fit_step_model(requests)).to_numpy(), everyone),
        "latency_alone": (estimated_shares(stageless, None, model).to_numpy(), everyone),
        "naive": (by_duration(requests), everyone),
        "opencost": (by_opencost(requests), everyone),
    }
    for name, one_in in (("one_in_10", 10), ("one_in_100", 100)):
        seen = luck < 1 / one_in
        found[name] = (estimated_shares(requests.filter(pl.Series(seen)), running, model).to_numpy(), seen)
    return found


def tenant_errors(played: Played, truth: Floats, model: StepModel) -> dict[str, Floats]:
    """By way, the error of each tenant's hour: the sum of its requests' estimates."""
    requests = played.requests.with_columns(
        pl.col("time").dt.truncate("1h").alias("hour"),
        pl.Series("truth", truth),
        estimated_shares(played.requests, None, model).alias("estimate"),
        pl.Series("duration", by_duration(played.requests)),
        pl.Series("opencost", by_opencost(played.requests)),
    )
    ways = ("estimate", "duration", "opencost")
    sums = requests.group_by("hour", "tenant").agg(pl.col("truth", *ways).sum())
    truths = sums["truth"].to_numpy()
    return {name: errors(sums[name].to_numpy(), truths) for name in ways}


def _told(found: Floats) -> str:
    return f"{np.median(found):.1%} / {np.quantile(found, 0.95):.0%}" if len(found) else "-"


def per_request(console: Console, data: Path, seed: int) -> dict[str, float]:
    """How far a request's cost is from the truth, in each case; and of tenants by the hour."""
    ways = ("per_request", "name_alone", "fitted", "latency_alone", "one_in_10", "one_in_100", "naive", "opencost")
    table = Table(
        "Case", "Requests", "Busy", "Running", "Preempted", "Spans", "Name alone", "Fitted", "Latency alone",
        "1 in 10 + gauge", "1 in 100 + gauge", "By duration", "OpenCost's way",
        title="Error of a request's cost: median / p95",
    )  # fmt: skip
    tenants = Table("Case", "Spans", "By duration", "OpenCost's way", title="Of a tenant's hour")
    pooled: dict[str, list[Floats]] = {way: [] for way in ways}
    pooled_tenants: dict[str, list[Floats]] = {way: [] for way in ("estimate", "duration", "opencost")}
    for case in (*CASES, BEYOND):
        played = play(arrivals(data, case.trace, case.share, seed), case.model.steps, case.batching(seed))
        model = case.true()
        truth = shares_from_steps(played.step_log, model)["engine_ms"].to_numpy()
        found = {name: errors(w, truth[of]) for name, (w, of) in estimates(played, case, seed).items()}
        groups = tenant_errors(played, truth, model)
        steps = played.step_log.unique("step")
        lasted_ms = (steps["time"].max() - steps["time"].min()).total_seconds() * 1000
        size = f"{case.model.name.rsplit('-', 1)[1]}: {case.name}"
        table.add_row(
            size, f"{played.requests.height:,}", f"{steps['duration_ms'].sum() / lasted_ms:.0%}",
            f"{played.scrapes['num_requests_running'].mean():.1f}",
            f"{(played.requests['preemptions'] > 0).mean():.1%}", *(_told(found[way]) for way in ways),
        )  # fmt: skip
        tenants.add_row(size, *(_told(groups[way]) for way in pooled_tenants))
        if case is not BEYOND:
            for way in ways:
                pooled[way].append(found[way])
            for way, parts in pooled_tenants.items():
                parts.append(groups[way])
    console.print(table)
    console.print(tenants)
    console.print(f"The last case, {BEYOND.name}, is beyond what spans can tell, and in no figure below.")
    figures = {}
    for way, parts in pooled.items():
        every = np.concatenate(parts)
        figures[f"{way}_error_median"] = float(np.median(every))
        figures[f"{way}_error_p95"] = float(np.quantile(every, 0.95))
    figures["per_request_error_median_worst_case"] = max(float(np.median(one)) for one in pooled["per_request"])
    figures["per_request_error_p95_worst_case"] = max(float(np.quantile(one, 0.95)) for one in pooled["per_request"])
    for way, parts in pooled_tenants.items():
        figures[f"tenant_hour_{way}_error_median"] = float(np.median(np.concatenate(parts)))
        figures[f"tenant_hour_{way}_error_p95"] = float(np.quantile(np.concatenate(parts), 0.95))
    figures["per_request_goals_met"] = float(
        figures["per_request_error_median_worst_case"] <= GOALS[0]
        and figures["per_request_error_p95_worst_case"] <= GOALS[1]
    )
    return figures


def speed(console: Console, _data: Path, seed: int) -> dict[str, float]:
    """Seconds for the shares of a million requests on fifty replicas in a day."""
    count, randomness = 1_000_000, np.random.default_rng(seed)
    requests = pl.DataFrame(
        {
            "time": np.sort(randomness.integers(0, 86_400_000_000, count)),
            "replica": [f"replica-{number}" for number in randomness.integers(0, 50, count)],
            "queue_ms": randomness.exponential(10, count),
            "prefill_ms": randomness.exponential(100, count),
            "decode_ms": randomness.exponential(4000, count),
            "input_tokens": randomness.integers(10, 4000, count),
            "cached_tokens": np.zeros(count, dtype=np.int64),
            "output_tokens": randomness.integers(1, 500, count),
        }
    ).with_columns(pl.col("time").cast(pl.Datetime("us", "UTC")))
    began = time.perf_counter()
    estimated_shares(requests, None, CASES[0].true())
    seconds = time.perf_counter() - began
    console.print(f"Shares of a million requests: {seconds:.1f} s")
    return {"million_shares_s": seconds}


def bill(console: Console, _data: Path, seed: int) -> dict[str, float]:
    """How far bills of random fleets are from the sum of their parts: prices that change in mid-hour, MIG, silence."""
    randomness, worst, fleets = random.Random(seed), 0, 200
    start = datetime(2026, 11, 23, tzinfo=UTC)
    for _ in range(fleets):
        hours, rows, asked = randomness.randint(1, 5), [], []
        history = [
            [start + timedelta(minutes=randomness.randint(1, 300)), randomness.uniform(0.1, 12)] for _ in range(3)
        ]
        changes = sorted(randomness.sample(range(1, 300), 3))  # minutes
        history = [[start + timedelta(minutes=at), randomness.uniform(0.1, 12)] for at in (0, *changes)]
        price = {"name": "p", "mode": "spot", "source": "-", "as_of": "2026-11-23", "history": history}
        book = price_book_of({"prices": [price], "matches": [{"price": "p"}]})
        for gpu in range(randomness.randint(1, 20)):
            ratio, replica = randomness.choice([1.0, 1 / 7, 2 / 7, 3 / 7]), randomness.choice(["a", "b", None])
            for hour in range(hours):
                states = randomness.sample([BUSY, *IdleCause], randomness.randint(1, 4))
                cuts = sorted(randomness.uniform(0, 3600) for _ in states)
                spent = [end - begin for begin, end in zip([0.0, *cuts], cuts, strict=False)]
                who = ("gpu_model", "pool", "service", "model")
                rows += [
                    {"time": start + timedelta(hours=hour), "gpu": f"g{gpu}", "node": f"n{gpu // 8}",
                     **dict.fromkeys(who, "x"), "replica": replica, "slice_ratio": ratio, "state": str(state),
                     "seconds": seconds}
                    for state, seconds in zip(states, spent, strict=True)
                ]  # fmt: skip
        for tenant in range(randomness.randint(0, 30)):
            share = {"replica": randomness.choice(["a", "b"]), "engine_ms": randomness.expovariate(1e-3)}
            counts = {"requests": 1, "input_tokens": 10, "output_tokens": 10, "input_engine_ms": 0.0, "is_error": False}
            asked.append({"time": start + timedelta(hours=tenant % hours), "tenant": f"t{tenant}", **share, **counts})
        time_frame = pl.DataFrame(rows, schema=GPU_TIME)
        each = time_frame.group_by("time", "gpu").agg(
            pl.col("seconds").sum(), pl.col("node", "gpu_model", "pool", "slice_ratio").first()
        )
        costs = gpu_costs(book, each)
        split = allocate(time_frame, costs, pl.DataFrame(asked, schema=REQUEST_HOURS))
        worst = max(worst, abs(int(split["cost_nanousd"].sum()) - int(costs["cost_nanousd"].sum())))
    console.print(f"{fleets} random fleets: a bill and the sum of its parts differ by {worst} nano-dollars at most")
    return {"bill_difference_usd": worst / NANOUSD}


SECTIONS: Sequence[Callable[[Console, Path, int], dict[str, float]]] = (per_request, speed, bill)


def main() -> int:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "workloads")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not given.data.is_dir():
        sys.stderr.write(f"no recordings at {given.data}: give their folder with --data\n")
        return 2
    console = Console(width=210)
    console.print(machine())
    figures: dict[str, float] = {}
    for section in SECTIONS:
        figures |= section(console, given.data, given.seed)
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
