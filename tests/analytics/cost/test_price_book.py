from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from analytics.cost.price_book import (
    BEGINNING,
    Overhead,
    OverheadKind,
    PriceBook,
    PriceBookError,
    cost_of,
    gpu_costs,
    mean_prices,
    mig_ratio,
    overhead_costs,
    owned_usd_per_gpu_hour,
    price_book_of,
    read_price_book,
    shipped_prices,
)
from domain.cost import NANOUSD, Price, PriceMatch, PriceMode
from domain.window import Window

PUBLIC = Path(__file__).parents[4] / "shared" / "data" / "workloads" / "prices" / "gpu_prices.yaml"
TWO = datetime(2026, 11, 23, 2, tzinfo=UTC)
SAID = {"source": "contract 17", "as_of": "2026-01-02"}


def at(hours=0.0, seconds=0.0):
    return TWO + timedelta(hours=hours, seconds=seconds)


def price(name="h100", usd=3.6, starts_at=BEGINNING):
    return Price(name, usd, starts_at, PriceMode.ON_DEMAND, "contract 17", "2026-01-02")


def hours_of(*rows):
    """Rows of time, seconds and whatever else differs from a whole H100 of the pool chat."""
    usual = {"node": "n1", "gpu": "GPU-1", "gpu_model": "NVIDIA H100 80GB HBM3", "pool": "chat", "slice_ratio": 1.0}
    schema = {"time": pl.Datetime("us", "UTC"), "seconds": pl.Float64, **dict.fromkeys(list(usual)[:4], pl.String)}
    return pl.DataFrame(
        [{**usual, "time": time, "seconds": seconds, **other} for time, seconds, other in rows],
        schema={**schema, "slice_ratio": pl.Float64},
    )


def book_text(**entries):
    return {"matches": [{"price": "h100"}], "prices": [{"name": "h100", "usd_per_gpu_hour": 2.0, **SAID}], **entries}


# Cost of a stretch


def test_an_hour_costs_the_price_to_the_nano_dollar():
    book = PriceBook((price(usd=6.155),))
    assert cost_of(book, "h100", at(), at(1)) == 6_155_000_000
    assert cost_of(book, "h100", at(), at(seconds=1)) == 1_709_722  # 6.155e9 / 3600 = 1709722.2
    assert cost_of(book, "h100", at(), at(24 * 365)) == 6_155_000_000 * 24 * 365
    assert cost_of(book, "h100", at(), at()) == 0


def test_a_price_that_changes_in_mid_hour_counts_from_that_moment():
    book = PriceBook((price(usd=2.0), price(usd=5.0, starts_at=at(0.25)), price(usd=1.0, starts_at=at(0.75))))
    assert cost_of(book, "h100", at(), at(1)) == (2 * 15 + 5 * 30 + 1 * 15) * NANOUSD // 60
    assert cost_of(book, "h100", at(0.5), at(0.75)) == 1_250_000_000


def test_a_half_nano_dollar_is_rounded_to_the_even_one():
    book = PriceBook((price(usd=1.8),))  # 500 nano-dollars a millisecond, half a one a microsecond
    assert cost_of(book, "h100", at(), at(seconds=1e-6)) == 0
    assert cost_of(book, "h100", at(), at(seconds=3e-6)) == 2


@st.composite
def books(draw):
    moments = draw(st.lists(st.integers(1, 4 * 3_600_000_000), max_size=4, unique=True))
    starts = [BEGINNING, *(at() + timedelta(microseconds=moment) for moment in moments)]
    dollars = st.integers(0, 20_000).map(lambda mills: mills / 1000)
    return PriceBook(tuple(price(usd=draw(dollars), starts_at=start) for start in draw(st.permutations(starts))))


@given(books(), st.lists(st.integers(0, 4 * 3_600_000_000), min_size=2, max_size=6).map(sorted))
def test_adjoining_stretches_add_up_to_the_whole_within_a_nano_dollar_a_join(book, moments):
    bounds = [at() + timedelta(microseconds=moment) for moment in moments]
    parts = [cost_of(book, "h100", start, end) for start, end in pairwise(bounds)]
    assert abs(sum(parts) - cost_of(book, "h100", bounds[0], bounds[-1])) <= len(parts) - 1


@given(books(), st.integers(0, 7200), st.integers(0, 7_200_000_000))
def test_the_cost_is_that_of_the_slow_obvious_way(book, start_s, length_us):
    start, end = at(seconds=start_s), at(seconds=start_s) + timedelta(microseconds=length_us)
    bounds = sorted({start, end, *(one.starts_at for one in book.prices if start < one.starts_at < end)})
    exact = sum(
        Fraction(str(book.price_at("h100", since).usd_per_gpu_hour))
        * Fraction((until - since) // timedelta(microseconds=1), 3_600_000_000)
        for since, until in pairwise(bounds)
    )
    assert cost_of(book, "h100", start, end) == round(exact * NANOUSD)


@given(books(), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3_600_000_000)), min_size=1, max_size=8))
def test_a_frame_of_hours_costs_what_its_hours_cost_one_by_one(book, hours):
    book = PriceBook(book.prices, (PriceMatch("h100"),))
    frame = hours_of(*((at(hour), microseconds / 1e6, {}) for hour, microseconds in hours))
    expected = [
        cost_of(book, "h100", at(hour), at(hour) + timedelta(microseconds=microseconds)) for hour, microseconds in hours
    ]
    assert gpu_costs(book, frame)["cost_nanousd"].to_list() == expected


def test_what_cannot_be_costed_is_refused():
    book = PriceBook((price(starts_at=at(1)),))
    with pytest.raises(ValueError, match=r"price h100 starts at 2026-11-23T03:00:00\+00:00; it is not known at"):
        cost_of(book, "h100", at(), at(2))
    with pytest.raises(ValueError, match="there is no price 'h10'; did you mean h100"):
        cost_of(book, "h10", at(1), at(2))
    with pytest.raises(ValueError, match="before its start"):
        cost_of(book, "h100", at(3), at(2))
    with pytest.raises(ValueError, match="has no time zone"):
        cost_of(book, "h100", at(1), datetime(2026, 11, 23, 5))  # noqa: DTZ001


def test_the_mean_of_a_price_weighs_it_by_time_and_is_not_known_before_it_starts():
    book = PriceBook((price(usd=2.0, starts_at=at()), price(usd=5.0, starts_at=at(0.75)), price("spot", 1.0)))
    periods = pl.DataFrame(
        [
            ("h100", at(), at(1)),
            ("spot", at(), at(1)),
            ("h100", at(-1), at(1)),
            ("no", at(), at(1)),
            (None, at(), at(1)),
        ],
        schema={"price": pl.String, "start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")},
        orient="row",
    )
    means = mean_prices(book, periods)
    assert means.drop("usd_per_gpu_hour").equals(periods)
    assert means["usd_per_gpu_hour"].to_list() == [2.75, 1.0, None, None, None]


# Cost of GPU-hours


def test_the_first_match_that_holds_names_the_price_and_what_none_is_for_has_none():
    book = PriceBook(
        (price("spot", 1.0), price("h100", 3.6)),
        (PriceMatch("spot", pool="batch"), PriceMatch("h100", gpu_model="*h100*")),
    )
    hours = hours_of(
        (at(), 3600.0, {"pool": "batch"}),
        (at(), 1800.0, {}),
        (at(), 3600.0, {"gpu_model": "Tesla T4"}),
        (at(), 3600.0, {"pool": None, "node": None}),
        (at(), 3600.0, {"pool": None, "gpu_model": None}),
    )
    costs = gpu_costs(book, hours)
    assert costs.drop("price", "cost_nanousd").equals(hours)
    assert costs.select("price", "cost_nanousd").rows() == [
        ("spot", NANOUSD),
        ("h100", 1_800_000_000),
        (None, None),
        ("h100", 3_600_000_000),
        (None, None),
    ]


def test_a_slice_costs_its_share_and_seven_of_them_the_whole():
    book = PriceBook((price(usd=7.0),), (PriceMatch("h100"),))
    slices = hours_of(
        *((at(), 3600.0, {"slice_ratio": mig_ratio("1g.10gb")}) for _ in range(7)),
        (at(), 3600.0, {"slice_ratio": mig_ratio("3g.40gb")}),
    )
    assert gpu_costs(book, slices)["cost_nanousd"].to_list() == [NANOUSD] * 7 + [3 * NANOUSD]


def test_what_is_not_known_of_an_hour_leaves_its_cost_unknown():
    book = PriceBook((price(starts_at=at(1)),), (PriceMatch("h100"),))
    hours = hours_of((at(), 3600.0, {}), (at(1), None, {}), (at(1), 3600.0, {"slice_ratio": None}), (at(1), 0.0, {}))
    assert gpu_costs(book, hours).select("price", "cost_nanousd").rows() == [
        ("h100", None),
        ("h100", None),
        ("h100", None),
        ("h100", 0),
    ]


def test_no_hours_and_no_prices_give_frames_of_the_same_columns():
    book = PriceBook((price(),), (PriceMatch("h100"),))
    assert gpu_costs(book, hours_of()).schema == gpu_costs(book, hours_of((at(), 1.0, {}))).schema
    assert gpu_costs(PriceBook(), hours_of((at(), 1.0, {})))["cost_nanousd"].to_list() == [None]


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("seconds", -1.0, "seconds is -1.0"),
        ("seconds", float("nan"), "seconds is nan"),
        ("seconds", float("inf"), "seconds is inf"),
        ("slice_ratio", 1.5, "slice_ratio is 1.5; expected a number from 0 to 1"),
    ],
)
def test_hours_that_cannot_be_are_refused(column, value, told):
    with pytest.raises(ValueError, match=told):
        gpu_costs(PriceBook(), hours_of((at(), 1.0, {})).with_columns(pl.lit(value).alias(column)))


# Slices and overheads


def test_a_mig_profile_is_its_compute_slices_of_seven_unless_the_book_says_otherwise():
    assert mig_ratio("1g.10gb") == 1 / 7
    assert mig_ratio("3g.40gb") == 3 / 7
    assert mig_ratio("1g.10gb+me") == 1 / 7
    assert mig_ratio("7g.80gb") == 1.0
    assert mig_ratio("1g.10gb", {"1g.10gb": 0.125}) == 0.125
    assert mig_ratio("2g.20gb", {"1g.10gb": 0.125}) == 2 / 7
    for profile in ("", "5g.40gb", "8g.80gb", "1g", "half", "1c.3g.40gb"):
        with pytest.raises(ValueError, match="is no MIG profile"):
            mig_ratio(profile)


def test_overheads_are_told_by_hour_and_only_while_they_run():
    book = PriceBook(
        overheads=(
            Overhead("support", 1.0, "contract 17", "2026-01-02", OverheadKind.SUPPORT),
            Overhead("backup", 0.5, "contract 17", "2026-01-02", starts_at=at(1.5), ends_at=at(2.5)),
        )
    )
    assert overhead_costs(book, Window(at(0.5), at(3))).rows() == [
        (at(0), "support", 500_000_000),
        (at(1), "backup", 250_000_000),
        (at(1), "support", NANOUSD),
        (at(2), "backup", 250_000_000),
        (at(2), "support", NANOUSD),
    ]
    assert overhead_costs(book, Window(at(2.75), at(3)))["overhead"].to_list() == ["support"]
    assert overhead_costs(book, Window(at(1), at(1.25)))["overhead"].to_list() == ["support"]
    assert overhead_costs(PriceBook(), Window(at(), at(1))).is_empty()


# Documents


def test_a_document_tells_prices_matches_slices_and_overheads():
    book = read_price_book(
        """
        prices:
          - {name: h100, usd_per_gpu_hour: 2.1, source: contract 17, as_of: 2026-01-02, provider: Nebius, region: eu-1}
          - {name: h100, usd_per_gpu_hour: 2.4, starts_at: 2026-07-01T00:00:00+02:00, source: letter, as_of: 2026-06-02}
          - name: h100-spot
            mode: spot
            zone: us-east-1a
            source: bill
            as_of: "2026-11"
            history: [[2026-11-01T00:00:00Z, 2.02], ["2026-11-01T01:00:00Z", 3]]
        matches: [{price: h100-spot, pool: batch-*}, {price: h100, gpu_model: "*H100*", node: gpu-*}]
        mig_slices: {1g.10gb: 0.125}
        overheads:
          - {name: support, usd_per_month: 730, source: contract 18, as_of: 2026-01-02, kind: support}
          - {name: egress, usd_per_hour: 0.25, source: contract 19, as_of: 2026-01-02, kind: network}
        """
    )
    assert [(one.name, one.usd_per_gpu_hour, one.starts_at, one.mode) for one in book.prices] == [
        ("h100", 2.1, BEGINNING, PriceMode.ON_DEMAND),
        ("h100", 2.4, datetime(2026, 6, 30, 22, tzinfo=UTC), PriceMode.ON_DEMAND),
        ("h100-spot", 2.02, datetime(2026, 11, 1, tzinfo=UTC), PriceMode.SPOT),
        ("h100-spot", 3.0, datetime(2026, 11, 1, 1, tzinfo=UTC), PriceMode.SPOT),
    ]
    assert (book.prices[0].provider, book.prices[0].region, book.prices[0].as_of) == ("Nebius", "eu-1", "2026-01-02")
    assert book.prices[3].zone == "us-east-1a"
    assert book.matches == (PriceMatch("h100-spot", pool="batch-*"), PriceMatch("h100", "gpu-*", "*H100*"))
    assert book.mig_slices == {"1g.10gb": 0.125}
    assert [(one.name, one.usd_per_hour, one.kind) for one in book.overheads] == [
        ("support", 1.0, OverheadKind.SUPPORT),
        ("egress", 0.25, OverheadKind.NETWORK),
    ]
    assert book.list_prices == frozenset()
    assert book.price_for("gpu-1", "NVIDIA H100 80GB HBM3", "batch-1") == "h100-spot"
    assert book.price_for("gpu-1", "NVIDIA H100 80GB HBM3", None) == "h100"
    assert book.price_for("cpu-1", "NVIDIA H100 80GB HBM3", None) is None


def test_owned_hardware_costs_what_it_was_bought_for_what_it_draws_and_the_rest():
    owned = {
        "capital_usd_per_gpu": 35_040,
        "amortised_months": 48,
        "power_watts_per_gpu": 1000,
        "pue": 1.25,
        "usd_per_kwh": 0.08,
        "other_usd_per_gpu_month": 73,
    }
    assert owned_usd_per_gpu_hour(**owned) == pytest.approx(1.0 + 0.1 + 0.1)  # 730 a month; 73 a month; 1.25 kW at 8 c
    book = price_book_of(book_text(prices=[{"name": "h100", "owned": owned, **SAID}]))
    assert book.prices[0].mode is PriceMode.OWNED
    assert book.prices[0].usd_per_gpu_hour == pytest.approx(1.2)


def test_a_match_may_name_a_shipped_price_which_stays_marked_as_a_list_price():
    book = price_book_of(book_text(matches=[{"price": "h100", "pool": "chat"}, {"price": "nebius-h200-on-demand"}]))
    assert book.names == ["h100", "nebius-h200-on-demand"]
    assert len(book.steps_of("nebius-h200-on-demand")) == 2
    assert book.list_prices == {"nebius-h200-on-demand"}
    own = {"name": "nebius-h200-on-demand", "usd_per_gpu_hour": 1.0, **SAID}
    replaced = price_book_of({"prices": [own], "matches": [{"price": "nebius-h200-on-demand"}]})
    assert [one.usd_per_gpu_hour for one in replaced.prices] == [1.0]
    assert not replaced.list_prices


def test_who_configures_no_price_gets_list_prices_and_keeps_overheads():
    assert price_book_of(None) == shipped_prices()
    book = price_book_of({"overheads": [{"name": "support", "usd_per_hour": 1, **SAID}]})
    assert book.matches == shipped_prices().matches
    assert book.list_prices == set(book.names)
    assert len(book.overheads) == 1


H100 = {"name": "h100", "usd_per_gpu_hour": 2.0, **SAID}
OWNED = {"capital_usd_per_gpu": 1, "amortised_months": 1, "power_watts_per_gpu": 1, "pue": 1.2, "usd_per_kwh": 0.1}
SUPPORT = {"name": "support", "usd_per_hour": 1, **SAID}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ([], r"price book is \[\]; expected a mapping with prices, matches"),
        ({"price": []}, "price book: unknown key 'price'; did you mean prices"),
        ({"prices": [H100]}, "matches is missing, so no GPU would have a price"),
        ({"prices": {"h100": 2}}, "prices is {'h100': 2}; expected a list"),
        (
            book_text(prices=[H100 | {"usd_per_gpu_hours": 2}]),
            "unknown key 'usd_per_gpu_hours'; did you mean usd_per_gpu",
        ),
        (
            book_text(prices=[{"name": "h100", **SAID}]),
            r"prices\[0\] has none; expected one of usd_per_gpu_hour, owned",
        ),
        (book_text(prices=[H100 | {"owned": OWNED}]), "has usd_per_gpu_hour and owned; expected one of"),
        (book_text(prices=[H100 | {"usd_per_gpu_hour": -1}]), r"prices\[0\].usd_per_gpu_hour is -1; expected a finite"),
        (book_text(prices=[H100 | {"usd_per_gpu_hour": float("nan")}]), "usd_per_gpu_hour is nan"),
        (book_text(prices=[H100 | {"usd_per_gpu_hour": float("inf")}]), "usd_per_gpu_hour is inf"),
        (book_text(prices=[H100 | {"usd_per_gpu_hour": True}]), "usd_per_gpu_hour is True"),
        (book_text(prices=[H100 | {"usd_per_gpu_hour": "2.0"}]), "usd_per_gpu_hour is '2.0'"),
        (book_text(prices=[H100 | {"usd_per_gpu_hour": 2e6}]), r"is 2e\+06; expected dollars of one GPU for an hour"),
        (book_text(prices=[H100 | {"source": None}]), r"prices\[0\].source is missing"),
        (book_text(prices=[H100 | {"source": " "}]), r"prices\[0\].source is ' '; expected text"),
        (book_text(prices=[H100 | {"as_of": None}]), r"prices\[0\].as_of is missing; expected the day it was read"),
        (book_text(prices=[H100 | {"as_of": "last week"}]), "as_of is 'last week'; expected the day"),
        (book_text(prices=[H100 | {"as_of": "2026-13-02"}]), "as_of is '2026-13-02'"),
        (book_text(prices=[H100 | {"mode": "spott"}]), r"prices\[0\].mode is 'spott'; did you mean spot"),
        (
            book_text(prices=[H100 | {"starts_at": datetime(2026, 1, 1)}]),  # noqa: DTZ001
            r"prices\[0\].starts_at is 2026-01-01T00:00:00, without time zone",
        ),
        (book_text(prices=[H100 | {"starts_at": datetime(2026, 1, 1).date()}]), "without time zone"),  # noqa: DTZ001
        (book_text(prices=[H100 | {"starts_at": "2026-01-01T00:00:00"}]), "starts_at: .* has no time zone"),
        (book_text(prices=[H100 | {"starts_at": 5}]), "starts_at is 5; expected a time with its zone"),
        (book_text(prices=[H100, H100]), r"prices\[1\]: price h100 starts at 1970-01-01.*, as prices\[0\] does"),
        (
            book_text(prices=[{"name": "h100", "history": [["2026-01-01T00:00:00Z", 1], [1]], **SAID}]),
            r"prices\[0\].history\[1\] is \[1\]; expected \[time, usd\]",
        ),
        (
            book_text(prices=[{"name": "h100", "history": [["2026-01-01T00:00:00Z", -1]], **SAID}]),
            r"prices\[0\].history\[0\]\[1\] is -1",
        ),
        (book_text(prices=[{"name": "h100", "history": [], **SAID}]), r"prices\[0\].history is empty"),
        (
            book_text(prices=[{"name": "h100", "history": [[at(), 1], [at(), 2]], **SAID}]),
            r"prices\[0\].history\[1\]: price h100 starts at 2026-11-23.*, as prices\[0\].history\[0\] does",
        ),
        (
            book_text(prices=[{"name": "h100", "history": [[at(), 1]], "starts_at": at(), **SAID}]),
            r"prices\[0\].starts_at is given beside history",
        ),
        (
            book_text(prices=[{"name": "h100", "owned": {"pue": 1.2}, **SAID}]),
            r"prices\[0\].owned.capital_usd_per_gpu is missing",
        ),
        (
            book_text(prices=[{"name": "h100", "owned": OWNED | {"pue": 0.9}, **SAID}]),
            r"prices\[0\].owned.pue is 0.9; expected 1 or more",
        ),
        (
            book_text(prices=[{"name": "h100", "owned": OWNED | {"amortised_months": 0}, **SAID}]),
            r"owned.amortised_months is 0; expected 1 or more",
        ),
        (
            book_text(prices=[{"name": "h100", "owned": OWNED | {"power_watts": 5}, **SAID}]),
            r"prices\[0\].owned: unknown key 'power_watts'; did you mean power_watts_per_gpu",
        ),
        (
            book_text(matches=[{"price": "h10"}]),
            r"matches\[0\].price is 'h10', which names no price; did you mean h100",
        ),
        (book_text(matches=[{"pool": "chat"}]), r"matches\[0\].price is missing"),
        (book_text(matches=[{"price": "h100", "gpu": "*"}]), r"matches\[0\]: unknown key 'gpu'; "),
        (book_text(mig_slices=[1]), r"mig_slices is \[1\]; expected shares by profile"),
        (book_text(mig_slices={"9g.10gb": 0.1}), "mig_slices.9g.10gb: '9g.10gb' is no MIG profile"),
        (book_text(mig_slices={"1g.10gb": 1.1}), "mig_slices.1g.10gb is 1.1; expected more than 0, at most 1"),
        (book_text(overheads=[SUPPORT | {"usd_per_month": 1}]), r"overheads\[0\] has usd_per_hour and usd_per_month"),
        (book_text(overheads=[SUPPORT | {"usd_per_hour": -1}]), r"overheads\[0\].usd_per_hour is -1"),
        (book_text(overheads=[SUPPORT, SUPPORT]), r"overheads\[1\].name is 'support', as that of overheads\[0\]"),
        (
            book_text(overheads=[SUPPORT | {"kind": "networks"}]),
            r"overheads\[0\].kind is 'networks'; did you mean network",
        ),
        (book_text(overheads=[SUPPORT | {"ends_at": BEGINNING}]), r"overheads\[0\].ends_at is 1970.*after starts_at"),
        (book_text(overheads=["support"]), r"overheads\[0\] is 'support'; expected a mapping"),
    ],
)
def test_a_document_that_cannot_be_used_is_refused_with_the_place(document, told):
    with pytest.raises(PriceBookError, match=told):
        price_book_of(document)


def test_what_is_no_yaml_is_refused():
    with pytest.raises(PriceBookError, match="no YAML"):
        read_price_book("prices: [")


# What is shipped


def test_the_shipped_prices_are_dated_sourced_and_all_marked_as_list_prices():
    book = shipped_prices()
    assert {"aws-h100-on-demand", "coreweave-h100-spot"} <= set(book.names)
    assert book.list_prices == set(book.names)
    assert all(one.source and one.provider and one.gpu_model for one in book.prices)
    assert all(one.as_of.startswith("2026-") or "whose date is not known" in one.as_of for one in book.prices)
    suffixes = {"on-demand": PriceMode.ON_DEMAND, "spot": PriceMode.SPOT, "reserved": PriceMode.RESERVED}
    for one in book.prices:
        assert [mode for suffix, mode in suffixes.items() if one.name.endswith(suffix)] == [one.mode]


@pytest.mark.parametrize(
    ("gpu_model", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "coreweave-h100-on-demand"),
        ("NVIDIA-H100-80GB-HBM3", "coreweave-h100-on-demand"),
        ("NVIDIA H100 PCIe", "hyperstack-h100-pcie-on-demand"),
        ("NVIDIA H200", "coreweave-h200-on-demand"),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA GB200", "coreweave-gb200-on-demand"),
        ("NVIDIA B200", "coreweave-b200-on-demand"),
        ("NVIDIA A100-SXM4-80GB", "coreweave-a100-80-on-demand"),
        ("A100-SXM4-40GB", "aws-a100-40-on-demand"),
        ("NVIDIA A100 80GB PCIe", "azure-a100-80-pcie-on-demand"),
        ("NVIDIA L40S", "coreweave-l40s-on-demand"),
        ("NVIDIA L40", None),
        ("Tesla T4", None),
        (None, None),
    ],
)
def test_a_gpu_that_nobody_priced_has_the_list_price_of_its_model(gpu_model, name):
    assert shipped_prices().price_for("n1", gpu_model, "chat") == name


def test_a_list_price_that_was_read_anew_counts_from_the_day_it_was_read():
    book = shipped_prices()
    day = timedelta(days=1)
    change = datetime(2026, 9, 25, tzinfo=UTC)
    assert cost_of(book, "nebius-h100-on-demand", change - day, change + day) == (2_950_000_000 + 3_850_000_000) * 24


@pytest.mark.skipif(not PUBLIC.exists(), reason=f"{PUBLIC} is not here: the table the prices were taken from")
def test_every_dated_public_price_that_was_gathered_is_shipped():
    shipped = {
        (one.provider.lower(), one.mode.value, round(one.usd_per_gpu_hour, 2)) for one in shipped_prices().prices
    }
    providers = {"gcp": "google cloud", "azure": "microsoft azure"}
    missing = []
    for provider, _, _, _, told, usd, _, source, _ in yaml.safe_load(PUBLIC.read_text())["rows"]:
        mode = "spot" if told == "preemptible" else told
        if (
            mode in ("on_demand", "spot", "reserved") and usd is not None and source != "cmp"
        ):  # cmp: mean of a third party
            row = (providers.get(provider, provider), mode, round(usd, 2))
            missing += [row] if row not in shipped else []
    assert not missing
