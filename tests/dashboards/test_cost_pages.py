"""The pages of cost: their pieces from a few rows, and their callbacks over four settled days."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from fastapi import FastAPI

from analytics.cost.advice import Advice, AdviceGap, AdviceKind, Ranking
from analytics.cost.allocation import rows_of
from analytics.cost.forecast import Forecast, forecast
from analytics.cost.jobs import Costs
from analytics.cost.latency_value import LatencyWorth
from analytics.cost.unit_costs import Bill
from analytics.jobs.explaining import AnalyzeSettings
from dashboards import cost_words
from dashboards.app import create_dashboard
from dashboards.cost_parts import hourly, no_bill, note, rests_on, split_bar, tabs
from dashboards.pages import cost, cost_advice, cost_breakdown, cost_forecast, cost_idle
from dashboards.settings import DashboardSettings
from dashboards.shell import navigation, range_menu, service_menu
from dashboards.state import PageState
from domain.cost import NANOUSD, IdleCause, Use
from domain.incident import Indicator
from domain.window import Window
from storage.store import Store
from tests.browser import fixture_data
from tests.browser.cost_data import settle_days
from tests.dashboards.asking import PAGE, Asker
from tests.dashboards.reading import classes, links, words

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
BILL = Bill(100.0, 60.0, 30.0, 10.0, 0.0, 2.5, 1.25, 40.0, 0.974, 1.0)
TABLES = ("tailsight_gpu_hours", "tailsight_request_hours", "tailsight_cost_hours")


def costs_of(*rows: dict[str, object], hours: int = 2, unpriced_s: float = 0.0) -> Costs:
    return Costs(Window(NOON - timedelta(hours=hours), NOON), rows_of(list(rows)), unpriced_s)


def paid(ago: int, usd: float, use: str = "requests", **of: object) -> dict[str, object]:
    shared = {"time": NOON - timedelta(hours=ago), "use": use, "gpu_seconds": 3_600.0}
    return {**shared, "cost_nanousd": round(usd * NANOUSD), **of}


def idle(ago: int, usd: float, cause: IdleCause, **of: object) -> dict[str, object]:
    return paid(ago, usd, "idle", idle_cause=cause.value, **of)


# -- Shared pieces -------------------------------------------------------------------------------------------------


def test_every_use_and_idle_cause_has_words_and_a_colour_in_both_themes() -> None:
    styles = "".join(
        (Path(cost.__file__).parents[1] / "assets" / f"{name}.css").read_text() for name in ("app", "cost")
    )
    assert set(cost_words.USES) == set(Use)
    assert set(cost_words.IDLE_CAUSES) == set(IdleCause)
    for known in (*cost_words.USES.values(), *cost_words.IDLE_CAUSES.values()):
        assert known.hint
        assert styles.count(f"--{known.tone}: #") == 2
        assert f".fill-{known.tone} " in styles


def test_the_split_of_a_bill_says_its_shares_in_words() -> None:
    assert words(split_bar(BILL)).startswith("Served requests $60.00 60 %")
    assert classes(split_bar(BILL)[0]) == ["split-bar", "fill-accent", "fill-use-idle", "fill-calm"]


def test_a_bill_says_whose_prices_it_rests_on_and_what_is_not_known() -> None:
    silent = idle(2, 1, IdleCause.NO_TELEMETRY)
    costs = costs_of(paid(1, 5), paid(2, 5), silent, unpriced_s=7_200.0)
    told = words(rests_on(costs, uses_list_prices=True))
    assert "List prices, not yours: set cost.price_book" in told
    assert "Telemetry of 66 % of the paid GPU time" in told
    assert "A price for 60 % of the GPU time; the rest is on no bill" in told
    assert "nothing is known" not in told
    assert "List prices" not in words(rests_on(costs, uses_list_prices=False))


def test_a_bill_of_few_of_its_hours_is_seen_to_be_partial_and_is_not_compared() -> None:
    costs = costs_of(*(paid(ago, 5) for ago in range(1, 51)), hours=168)
    before = replace(
        costs_of(*(paid(ago, 5) for ago in range(169, 337)), hours=168),
        window=Window(NOON - timedelta(hours=336), NOON - timedelta(hours=168)),
    )
    told = cost.bill_detail(costs, before)
    assert words(told) == "50 of 168 h known · not compared"
    assert "tone-warning" in classes(told)
    rests = rests_on(costs, uses_list_prices=False)
    assert "Of 118 of the 168 hours nothing is known: what they cost is in no figure here" in words(rests)
    assert "50 of 168 h known" in words(cost_idle.facts(costs))
    nearly = costs_of(*(paid(ago, 5) for ago in range(1, 168)), hours=168)
    assert words(cost.bill_detail(nearly, before)) == "167 of 168 h known · ±0 %"
    assert "tone-warning" not in classes(rests_on(nearly, uses_list_prices=False))


def test_no_bill_for_want_of_gpus_or_of_prices_is_told_apart() -> None:
    nothing = Bill(0, 0, 0, 0, 0, 0, 0, 0, None, None)
    assert "No GPU has been heard of" in words(no_bill(nothing))
    assert "No price is known of these GPUs" in words(no_bill(replace(nothing, priced_ratio=0.0)))
    assert no_bill(BILL) is None


def test_a_course_has_nothing_in_hours_that_others_are_known_of_and_a_gap_elsewhere() -> None:
    rows = costs_of(paid(3, 5, model="a"), paid(1, 2, model="b"), hours=3).allocation
    hours = [NOON - timedelta(hours=ago) for ago in (3, 2, 1)]
    assert hourly(rows, "model", hours) == {"a": [5.0, None, 0.0], "b": [0.0, None, 2.0]}


def test_tabs_carry_the_range_along_and_mark_where_one_is() -> None:
    found = tabs("/cost/idle", PageState(range_name="24h", by="tenant"))
    assert links(found)[1:3] == ["/cost/breakdown?range=24h", "/cost/idle?range=24h"]
    assert [getattr(tab, "aria-current", None) for tab in found] == [None, None, "page", None, None]


def test_cost_is_in_the_menu_with_its_own_ranges_and_without_services() -> None:
    entry = navigation("/cost/advice", PageState(), 0)[5]
    assert (words(entry), getattr(entry, "aria-current", None)) == ("Cost", "page")
    ranges = range_menu("/cost/breakdown", PageState(range_name="1h", by="tenant", model="llama"))
    assert words(ranges) == "6h 24h 7d 30d"
    assert links(ranges)[0] == "/cost/breakdown?range=6h&by=tenant&model=llama"
    assert getattr(ranges[2], "aria-current", None) == "true"
    assert range_menu("/cost/forecast", PageState()) == []
    assert service_menu("/cost", PageState(), ["chat"]) is None
    assert "30d" not in words(range_menu("/", PageState(range_name="30d")))


# -- Overview ------------------------------------------------------------------------------------------------------


def test_the_change_is_against_a_time_before_that_is_known_whole() -> None:
    now = costs_of(paid(2, 30), paid(1, 30))
    window = Window(NOON - timedelta(hours=4), NOON - timedelta(hours=2))

    def then(*rows: dict[str, object]) -> Costs:
        return replace(costs_of(*rows), window=window)

    assert words(cost.change(now, then(paid(4, 20), paid(3, 20)))) == "+50 %"
    assert words(cost.change(now, then(paid(3, 40)))) == "not known before"
    assert words(cost.change(now, then())) == "not known before"
    assert words(cost.change(costs_of(paid(1, 30)), then(paid(4, 20), paid(3, 20)))) == "not compared"


def test_idle_causes_stand_worst_first_with_what_to_do() -> None:
    costs = costs_of(
        idle(1, 1, IdleCause.HUNG), idle(1, 5, IdleCause.NO_TRAFFIC), idle(2, 2, IdleCause.HUNG), paid(1, 12)
    )
    assert cost.idle_sums(costs.allocation) == {IdleCause.NO_TRAFFIC: 5.0, IdleCause.HUNG: 3.0}
    told = words(cost.idle_bars(costs.allocation, costs.bill))
    assert told.startswith("Loaded, no traffic $5.00 25 % Scale down in quiet hours")
    assert words(cost.idle_bars(costs_of(paid(1, 1)).allocation, BILL)) == "No GPU was idle in this time."


def test_hours_that_are_not_known_are_counted() -> None:
    known = note(costs_of(paid(1, 1), hours=5))
    assert words(known) == "23 Nov 07:00 to 23 Nov 12:00 UTC · 1 of 5 h known"
    assert classes(known) == ["tone-warning"]
    asked_only = paid(2, 0, gpu_seconds=0.0, requests=3)
    assert "1 of 5 h known" in words(note(costs_of(paid(1, 1), asked_only, hours=5)))
    assert words(note(costs_of(paid(1, 1), hours=1))) == "23 Nov 11:00 to 23 Nov 12:00 UTC"
    waiting = replace(costs_of(paid(1, 1), hours=5), unsettled=(NOON - timedelta(hours=2), NOON - timedelta(hours=3)))
    assert words(note(waiting)).endswith("1 of 5 h known , 2 wait to be settled")
    assert words(cost.change(waiting, costs_of(paid(1, 1), hours=5))) == "not compared yet"


def test_losses_are_told_beside_the_split() -> None:
    told = words(cost.split_words(BILL))
    assert "$1.25 of the served went into requests that failed" in told
    assert "$2.50 of the idle was lost while ports waited for credits" in told


# -- Breakdown -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "order"),
    [
        (None, ("full_cost_usd", True)),
        ("requests", ("requests", True)),
        ("tenant.up", ("tenant", False)),
        ("nonsense", ("full_cost_usd", True)),
    ],
)
def test_the_order_is_read_from_the_address(asked: str | None, order: tuple[str, bool]) -> None:
    assert cost_breakdown.sort_of(PageState(sort=asked), "tenant") == order


def test_something_that_cost_is_not_told_by_is_shown_by_model() -> None:
    assert cost_breakdown.dimension_of(PageState(by="colour")) == "model"
    assert cost_breakdown.dimension_of(PageState(by="pool")) == "pool"


# -- Idle ----------------------------------------------------------------------------------------------------------


def test_idle_places_stand_dearest_first_with_their_main_cause() -> None:
    costs = costs_of(
        paid(1, 4, node="n1", replica="chat-0", model="llama"),
        idle(1, 6, IdleCause.NO_TRAFFIC, node="n1", replica="chat-0", model="llama"),
        idle(2, 1, IdleCause.HUNG, node="n1", replica="chat-0", model="llama"),
        idle(1, 5, IdleCause.UNALLOCATED, node="n2"),
        paid(1, 9, node="n3", replica="busy"),
    )
    found = cost_idle.places(costs).select("node", "replica", "model", "usd", "ratio", "cause")
    assert found.rows() == [
        ("n1", "chat-0", "llama", 7.0, 2 / 3, "loaded_without_traffic"),
        ("n2", None, None, 5.0, 1.0, "unallocated"),
    ]
    assert "GPUs without a pod n2" in words(cost_idle.places_table(costs))


def test_a_bill_of_overheads_alone_says_that_no_gpu_is_heard_of() -> None:
    told = words(cost_idle.facts(costs_of(paid(1, 3, "overhead", gpu_seconds=0.0))))
    assert "At any time — no GPU is heard of" in told


# -- Forecast ------------------------------------------------------------------------------------------------------


def test_too_short_a_past_says_why_there_is_no_forecast() -> None:
    told = words(cost_forecast.no_forecast("12 hours of spend are known; a forecast needs 72"))
    assert "12 hours of spend are known; a forecast needs 72." in told


def made_from(hours: int, start: datetime = NOON - timedelta(hours=96), spread: float = 1.0) -> Forecast:
    times = [start + timedelta(hours=ago) for ago in range(hours)]
    spend = [10.0 + spread * (moment.hour + moment.day % 3) for moment in times]
    found = forecast(pl.DataFrame({"time": times, "cost_usd": spend}), 24 * 31)
    assert isinstance(found, Forecast)
    return found


def test_a_forecast_from_little_says_what_it_rests_on_and_leaves_the_months_end_open() -> None:
    found = made_from(96)
    told = words(cost_forecast.facts(found))
    assert "November at its end not known nothing is known of 444 of 540 h so far" in told
    assert "November so far $" in told
    assert "96 of 540 h known" in told
    assert "Rest of November $" in told
    assert "80 %" not in told
    assert f"Forecast by {cost_forecast.MODELS[found.model]} {found.chosen_because}" in told
    rests = words(cost_forecast.rests_on(found))
    assert "Made from 96 hours known, 19 Nov 12:00 to 23 Nov 12:00 UTC; tried on them 3 times" in rests
    assert "No interval: the past is long enough to try the forecast 3 times; an interval needs 4" in rests
    score = words(cost_forecast.score(found))
    assert score.count("chosen") == 1
    assert "No interval" in score


def test_a_forecast_of_a_month_that_is_known_tells_its_end_with_an_interval() -> None:
    told = words(cost_forecast.facts(made_from(22 * 24, datetime(2026, 11, 1, tzinfo=UTC))))
    assert "November at its end $" in told
    assert "80 %: $" in told
    assert "Rest of November" not in told
    assert "h known" not in told


def test_spend_that_never_changed_has_no_interval_of_no_width_and_no_best_of_no_errors() -> None:
    found = made_from(22 * 24, datetime(2026, 11, 1, tzinfo=UTC), spread=0.0)
    told = words(cost_forecast.facts(found))
    assert "no interval" in told
    assert "80 %" not in told
    assert "all alike: none erred by a cent in the backtest" in told
    assert "least error" not in told
    score = words(cost_forecast.score(found))
    assert "\N{EM DASH}" not in score
    assert score.count("$0.00") == 4 or score.count("$0") >= 4
    assert "Dollars an hour: spend did not change from day to day" in score


# -- Advice --------------------------------------------------------------------------------------------------------

ADVICE = Advice(
    AdviceKind.RELEASE,
    "serving",
    "Give back 2 GPUs.",
    (900.0, 1_200.0),
    0.8,
    ("2.2 GPUs on average.",),
    ("They can be given back.",),
    ("Drain.", "Return."),
    ("A rise of load.",),
)


def test_advice_tells_dollars_how_sure_why_how_and_what_breaks_it() -> None:
    told = words(cost_advice.card(1, ADVICE))
    for part in ("$900 to $1,200 a month", "80 % sure", "2.2 GPUs on average.", "Drain. Return.", "A rise of load."):
        assert part in told


def test_no_advice_and_what_could_not_be_judged_are_said() -> None:
    gap = AdviceGap(AdviceKind.SPOT, "serving", "no spot price is known", "Add one to the price book.")
    assert "What is missing stands below" in words(cost_advice.summary(Ranking((), (gap,))))
    assert words(cost_advice.gaps((gap,))).endswith(
        "Spot capacity: serving Missing: no spot price is known. Add one to the price book."
    )
    assert cost_advice.gaps(()) is None
    assert "About $840 a month" in words(cost_advice.summary(Ranking((ADVICE,), ())))


def test_what_sooner_answers_are_worth_is_told_or_that_nobody_said_so() -> None:
    assert "Not configured." in words(cost_advice.latency(()))
    worth = LatencyWorth("chat", Indicator.TTFT, "our test", (400.0, 1600.0), 350.0, 310.0, (-640.0, -160.0))
    told = words(cost_advice.latency((worth,)))
    for part in ("Time to first token of chat", "100 ms sooner: $400 to $1,600 a month.", "−$640 to −$160", "our test"):
        assert part in told


def test_every_kind_of_advice_has_words_and_an_icon_that_is_shipped() -> None:
    styles = (Path(cost.__file__).parents[1] / "assets" / "icons.css").read_text()
    assert set(cost_advice.KINDS) == set(AdviceKind)
    assert all(f".icon-{icon_name} " in styles for _, icon_name in cost_advice.KINDS.values())


# -- Callbacks -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settled(runner: asyncio.Runner, filled_store: Store) -> Iterator[Asker]:
    settle_days(filled_store)
    api = FastAPI()
    create_dashboard(
        api,
        filled_store,
        DashboardSettings(),
        objectives=lambda: fixture_data.OBJECTIVES,
        now=lambda: fixture_data.NOW,
        analysis=AnalyzeSettings(),
    )
    yield Asker(runner, api)
    for table in TABLES:
        filled_store.execute(f"TRUNCATE TABLE {table}")


@pytest.mark.parametrize("path", ["/cost", "/cost/breakdown", "/cost/idle", "/cost/forecast", "/cost/advice"])
def test_a_page_of_cost_is_answered_at_its_path(settled: Asker, path: str) -> None:
    assert settled.get(path, **PAGE).status_code == 200


def test_the_overview_is_made_of_one_bill(settled: Asker) -> None:
    names = ("note", "rests-on", "facts", "split", "spend-note", "idle", "idle-link", "models", "models-link")
    outputs = [f"cost-{name}.children" for name in (*names, "tenants", "tenants-link")]
    outputs.insert(5, "figure:cost-spend.data")
    found = settled.callback(*outputs, url__search="?range=24h", tick__n_intervals=0)
    spend = found['{"name":"cost-spend","type":"figure"}']["data"]
    bill = sum(usd for trace in spend["data"] for usd in trace["y"])
    assert words(found["cost-facts"]["children"]).startswith(f"Bill ${bill:,.0f} ±0 %")
    assert words(found["cost-models"]["children"]).index("llama-70b") < words(found["cost-models"]["children"]).index(
        "bge-reranker"
    )
    assert "/cost/breakdown?range=24h&by=tenant&model=llama-70b" in links(found["cost-models"]["children"])


def test_a_model_is_told_apart_by_its_tenants(settled: Asker) -> None:
    found = settled.callback(
        "breakdown-note.children",
        "breakdown-choice.children",
        "breakdown-table.children",
        "breakdown-course-note.children",
        "figure:breakdown-course.data",
        url__search="?by=tenant&model=llama-70b&range=24h",
        tick__n_intervals=0,
    )
    table = words(found["breakdown-table"]["children"])
    traces = found['{"name":"breakdown-course","type":"figure"}']["data"]["data"]
    assert [trace["name"] for trace in traces] == ["acme-search", "northwind", "contoso"]
    assert table.index("acme-search") < table.index("northwind") < table.index("contoso")
    assert "all of llama-70b, busy and idle" in table
    assert "by=model,tenant&format=csv" in links(found["breakdown-choice"]["children"])[-1]
