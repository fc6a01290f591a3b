import numpy as np
import polars as pl
import pytest

from analytics.compare import compare_versions, imbalance


def requests(version, count, latency_ms, seed=1, errors=0, **columns):
    noise = np.random.default_rng(seed).lognormal(0, 0.3, count)
    known = {
        "version": [version] * count,
        "is_error": [number < errors for number in range(count)],
        "latency_ms": latency_ms * noise,
        "ttft_ms": [None] * count,
        "decode_ms": latency_ms * noise / 2,
        "output_tokens": [101] * count,
        "input_tokens": [1000] * count,
    }
    kinds = {"ttft_ms": pl.Float64, "output_tokens": pl.UInt32, "input_tokens": pl.UInt32}
    return pl.DataFrame(known | columns, schema_overrides=kinds)


def verdicts(found, measure):
    return {one.quantile: one.verdict for one in found.differences if one.measure == measure}


def test_a_slower_release_is_told_from_the_one_before_it():
    found = compare_versions(pl.concat([requests("1", 2000, 1000), requests("2", 1000, 1400, seed=2)]), "1", "2")
    assert verdicts(found, "latency_ms") == {0.5: "slower", 0.95: "slower", 0.99: "slower"}
    assert verdicts(found, "tpot_ms")[0.5] == "slower"
    assert set(verdicts(found, "ttft_ms").values()) == {"unknown"}
    median = next(one for one in found.differences if one.measure == "latency_ms" and one.quantile == 0.5)
    assert median.low_ms < 400 < median.high_ms
    turned = compare_versions(pl.concat([requests("1", 2000, 1000), requests("2", 1000, 1400, seed=2)]), "2", "1")
    assert verdicts(turned, "latency_ms")[0.5] == "faster"


def test_time_per_token_is_known_of_an_engine_that_tells_no_decode_time():
    told = {"ttft_ms": pl.lit(100.0), "decode_ms": pl.lit(None, pl.Float64)}
    parts = [requests("1", 2000, 1000), requests("2", 1000, 1400, seed=2)]
    found = compare_versions(pl.concat([part.with_columns(**told) for part in parts]), "1", "2")
    median = next(one for one in found.differences if one.measure == "tpot_ms" and one.quantile == 0.5)
    assert median.verdict == "slower"
    assert median.a_ms == pytest.approx(9.0, rel=0.1)  # a second less 100 ms, over 100 tokens


def test_equal_releases_are_rarely_called_different():
    wrong = 0
    for seed in range(40):
        both = pl.concat([requests("1", 600, 1000, seed=seed), requests("2", 600, 1000, seed=1000 + seed)])
        wrong += verdicts(compare_versions(both, "1", "2"), "latency_ms")[0.5] != "same"
    assert wrong <= 6  # 5 % of 40 is 2; more than 6 has a chance of 1 %


def test_too_few_requests_say_nothing():
    found = compare_versions(pl.concat([requests("1", 300, 1000), requests("2", 30, 3000)]), "1", "2")
    assert verdicts(found, "latency_ms") == {0.5: "slower", 0.95: "unknown", 0.99: "unknown"}
    nothing = compare_versions(requests("1", 300, 1000), "1", "absent")
    assert verdicts(nothing, "latency_ms")[0.5] == "unknown"
    assert nothing.errors.verdict == "unknown"


@pytest.mark.parametrize(("errors", "verdict"), [(40, "more"), (2, "same"), (0, "same")])
def test_failures_are_told_from_chance(errors, verdict):
    both = pl.concat([requests("1", 1000, 1000, errors=2), requests("2", 1000, 1000, errors=errors)])
    assert compare_versions(both, "1", "2").errors.verdict == verdict


def replicas(*tokens):
    rows = [(f"r-{number}", 10, 0, value // 2, value - value // 2, 100.0, None) for number, value in enumerate(tokens)]
    names = ("replica", "requests", "errors", "input_tokens", "output_tokens", "latency_ms_p99", "ttft_ms_p99")
    kinds = dict.fromkeys(names, pl.UInt64) | {
        "replica": pl.String,
        "latency_ms_p99": pl.Float64,
        "ttft_ms_p99": pl.Float64,
    }
    return pl.DataFrame(rows, schema=kinds, orient="row")


def test_the_busiest_replica_is_told_by_its_load_over_the_mean():
    found = imbalance(replicas(100, 100, 400))
    assert found.imbalance_ratio == pytest.approx(1.0)
    assert found.replicas["replica"][0] == "r-2"
    assert found.replicas["load_ratio"].to_list() == pytest.approx([2.0, 0.5, 0.5])
    assert imbalance(replicas(100, 100)).imbalance_ratio == pytest.approx(0.0)


def test_one_replica_is_neither_even_nor_uneven():
    assert imbalance(replicas(100)).imbalance_ratio is None
    assert imbalance(replicas()).imbalance_ratio is None


def test_requests_stand_in_where_no_tokens_are_told():
    assert imbalance(replicas(0, 0)).replicas["load_ratio"].to_list() == [1.0, 1.0]
