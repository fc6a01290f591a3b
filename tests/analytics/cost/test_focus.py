import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.cost.allocation import rows_of
from analytics.cost.focus import CUSTOM_COLUMNS, FOCUS_COLUMNS, TIME_FORMAT, FocusAccount, focus_rows
from analytics.cost.price_book import price_book_of
from domain.cost import NANOUSD
from domain.window import Window
from tests.analytics.cost import focus_check
from tests.analytics.cost.focus_check import focus_problems

TWO = datetime(2026, 11, 23, 2, tzinfo=UTC)
SAID = {"source": "contract 17", "as_of": "2026-01-02"}
BOOK = price_book_of(
    {
        "prices": [
            {"name": "h100", "usd_per_gpu_hour": 2.5, "provider": "Nebius", "gpu_model": "H100 SXM", **SAID},
            {"name": "h100", "usd_per_gpu_hour": 3.5, "starts_at": TWO + timedelta(minutes=90), **SAID},
            {"name": "spot", "usd_per_gpu_hour": 2, "mode": "spot", "region": "us-1", "zone": "us-1a", **SAID},
            {"name": "gift", "usd_per_gpu_hour": 0, **SAID},
        ],
        "matches": [{"price": "h100"}, {"price": "coreweave-h200-on-demand"}],
        "overheads": [
            {"name": "support", "usd_per_hour": 1, "kind": "support", **SAID},
            {"name": "disks", "usd_per_hour": 1, "kind": "storage", **SAID},
        ],
    }
)
ACCOUNT = FocusAccount("acct-1", "GPU platform", "Example Cloud")


def at(hours=0.0):
    return TWO + timedelta(hours=hours)


def served(hours=0, **other):
    """The dollars of requests: half a GPU-hour at 2.50."""
    usual = {"use": "requests", "service": "chat", "model": "llama", "pool": "prod", "tenant": "acme", "outcome": "ok"}
    return {
        **usual,
        "time": at(hours),
        "price": "h100",
        "gpu_seconds": 1800.0,
        "cost_nanousd": 1_250_000_000,
        "requests": 10,
        **other,
    }


def idle(hours=0, **other):
    return {
        "time": at(hours),
        "use": "idle",
        "idle_cause": "unallocated",
        "pool": "prod",
        "price": "spot",
        "gpu_seconds": 3600.0,
        "cost_nanousd": 2_000_000_000,
        **other,
    }


def overhead(name="support", hours=0):
    return {"time": at(hours), "use": "overhead", "price": name, "cost_nanousd": NANOUSD}


def unattributed(**other):
    return {"time": at(), "use": "unattributed", "gpu_seconds": 1800.0, "cost_nanousd": NANOUSD, **other}


def focus(*rows, window=None, every="hour", account=ACCOUNT, book=BOOK):
    found = focus_rows(rows_of(list(rows)), book, account, window or Window(at(-48), at(48)), every=every)
    assert focus_problems(found) == []
    return found


def only(rows, **values):
    """The single row with these values."""
    found = rows.filter(*(pl.col(name) == value for name, value in values.items()))
    assert found.height == 1
    return found.row(0, named=True)


def test_requests_of_one_tenant_model_and_price_are_one_row_an_hour_whatever_their_outcome():
    rows = focus(served(), served(outcome="error"), served(tenant="blue"), served(hours=1))
    assert rows.select("ChargePeriodStart", "x_Tenant", "x_Requests", "BilledCost").rows() == [
        (at(0), "acme", 20, Decimal("2.5")),
        (at(0), "blue", 10, Decimal("1.25")),
        (at(1), "acme", 10, Decimal("1.25")),
    ]


def test_a_row_tells_what_was_bought_for_whom_at_which_price():
    row = only(focus(served(input_tokens=70, output_tokens=30, is_estimated=False)))
    assert {name: row[name] for name in row if row[name] is not None and name not in ("SkuPriceDetails", "Tags")} == {
        **dict.fromkeys(focus_check.COSTS, Decimal("1.25")),
        **dict.fromkeys(focus_check.UNIT_PRICES, Decimal("2.5")),
        **dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), Decimal("0.5")),
        **dict.fromkeys(("ConsumedUnit", "PricingUnit"), "GPU-Hours"),
        **dict.fromkeys(("BillingCurrency", "PricingCurrency"), "USD"),
        **dict.fromkeys(("ProviderName", "PublisherName", "InvoiceIssuerName"), "Example Cloud"),
        **dict.fromkeys(("SubAccountId", "SubAccountName", "x_Tenant"), "acme"),
        "BillingAccountId": "acct-1",
        "BillingAccountName": "GPU platform",
        "BillingAccountType": "Billing Account",
        "BillingPeriodStart": datetime(2026, 11, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 12, 1, tzinfo=UTC),
        "ChargePeriodStart": at(0),
        "ChargePeriodEnd": at(1),
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ChargeDescription": "GPU time for requests of model llama, service chat, tenant acme, pool prod"
        " at 2.5 USD for a GPU-hour",
        "PricingCategory": "Standard",
        "ResourceId": "chat",
        "ResourceType": "Inference Service",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI",
        "ServiceName": "GPU Inference",
        "SkuId": "h100",  # the price in force at the end of the window names no provider
        "SkuPriceId": "h100",
        "SkuMeter": "GPU Hours",
        "SubAccountType": "Tenant",
        "x_Use": "requests",
        "x_Service": "chat",
        "x_Model": "llama",
        "x_Pool": "prod",
        "x_GpuSeconds": 1800.0,
        "x_Requests": 10,
        "x_InputTokens": 70,
        "x_OutputTokens": 30,
        "x_IsEstimated": False,
        "x_IsListPrice": False,
    }
    assert json.loads(row["Tags"]) == {
        "tailsight/use": "requests",
        "tailsight/service": "chat",
        "tailsight/model": "llama",
        "tailsight/tenant": "acme",
        "tailsight/pool": "prod",
    }
    assert json.loads(row["SkuPriceDetails"]) == {
        "GpuCount": 1,
        "x_PriceSource": "contract 17",
        "x_PriceAsOf": "2026-01-02",
        "x_PriceMode": "on_demand",
    }


def test_a_sku_is_a_model_of_a_provider():
    early = Window(at(), at(1))
    assert only(focus(served(), window=early))["SkuId"] == "Nebius/H100 SXM"


def test_idle_time_has_rows_of_its_own_with_the_cause_and_no_tenant():
    rows = focus(served(), idle(), idle(idle_cause="hung"))
    row = only(rows, x_IdleCause="hung")
    assert (row["BilledCost"], row["SubAccountId"], row["x_Use"]) == (Decimal(2), None, "idle")
    assert row["ChargeDescription"] == "Idle GPU time (hung) of pool prod at 2.0 USD for a GPU-hour"
    assert (row["ResourceId"], row["ResourceType"]) == ("prod", "GPU Pool")
    assert (row["PricingCategory"], row["RegionId"], row["RegionName"], row["AvailabilityZone"]) == (
        *("Dynamic", "us-1", "us-1", "us-1a"),
    )
    assert rows.height == 3


def test_each_overhead_has_rows_of_its_own_under_the_service_it_pays_for():
    rows = focus(overhead("support"), overhead("disks"), overhead("disks", hours=1), overhead("unknown"))
    row = only(rows, SkuId="overhead/support")
    assert (row["ServiceCategory"], row["ServiceSubcategory"]) == ("Management and Governance", "Support")
    assert (row["ChargeFrequency"], row["PricingUnit"], row["PricingQuantity"]) == ("Recurring", "Hours", 1)
    assert row["ChargeDescription"] == "Overhead support at 1.0 USD for an hour"
    assert row["ResourceId"] is None
    assert rows.filter(ServiceName="Inference Storage")["BilledCost"].sum() == 2
    assert only(rows, SkuId="overhead/unknown")["ServiceCategory"] == "Other"


def test_time_without_a_price_is_told_by_its_hours():
    row = only(focus(unattributed()))
    assert (row["PricingQuantity"], row["ContractedUnitPrice"], row["PricingUnit"]) == (Decimal("0.5"), 2, "GPU-Hours")
    assert (row["SkuId"], row["SkuPriceId"], row["SkuPriceDetails"]) == ("unpriced", "unpriced", None)
    row = only(focus(unattributed(gpu_seconds=0.0)))
    assert (row["PricingQuantity"], row["ContractedUnitPrice"], row["PricingUnit"]) == (1, 1, "Hours")


def test_a_price_that_changes_in_mid_hour_is_told_as_its_mean():
    row = only(focus(served(hours=1, gpu_seconds=3600.0, cost_nanousd=3_000_000_000)))
    assert (row["ContractedUnitPrice"], row["PricingQuantity"], row["ConsumedQuantity"]) == (3, 1, 1)


def test_a_gpu_that_is_free_costs_nothing_an_hour():
    row = only(focus(served(price="gift", cost_nanousd=0)))
    assert (row["BilledCost"], row["ContractedUnitPrice"], row["PricingQuantity"]) == (0, 0, Decimal("0.5"))


def test_an_empty_name_is_one_that_is_not_known():
    row = only(focus(served(tenant="", service="")))
    assert (row["SubAccountId"], row["x_Service"], row["ResourceId"]) == (None, None, "prod")


def test_a_list_price_is_marked_as_one():
    row = only(focus(served(price="coreweave-h200-on-demand")))
    assert row["x_IsListPrice"] is True
    assert row["SkuId"] == "CoreWeave/H200 SXM"


def test_days_add_up_hours_and_end_with_the_window():
    rows = focus(*(served(hours) for hours in range(24)), window=Window(at(1), at(23)), every="day")
    assert rows.select("ChargePeriodStart", "ChargePeriodEnd", "x_Requests").rows() == [
        (at(1), at(22), 210),
        (at(22), at(23), 10),
    ]


def test_months_are_billing_periods():
    new_year = datetime(2026, 12, 31, 23, tzinfo=UTC)
    rows = focus(served(time=new_year), window=Window(new_year, new_year + timedelta(hours=1)))
    assert only(rows)["BillingPeriodEnd"] == datetime(2027, 1, 1, tzinfo=UTC)


def test_an_invoice_and_a_publisher_are_told_where_there_are_any():
    row = only(focus(served(), account=replace(ACCOUNT, invoice_id="INV-7", publisher="Model Maker")))
    assert (row["InvoiceId"], row["PublisherName"], row["ProviderName"]) == ("INV-7", "Model Maker", "Example Cloud")


def test_no_rows_are_a_frame_of_all_columns():
    assert focus().schema == pl.Schema({**FOCUS_COLUMNS, **CUSTOM_COLUMNS})
    assert len(FOCUS_COLUMNS) == 57


def test_a_csv_holds_times_and_costs_as_focus_writes_them():
    text = focus(served(cost_nanousd=1)).write_csv(datetime_format=TIME_FORMAT)
    row = dict(zip(*(line.split(",") for line in text.splitlines()[:2]), strict=False))
    assert row["BilledCost"] == "0.000000001"
    assert row["BillingPeriodEnd"] == "2026-12-01T00:00:00Z"


def test_what_is_no_account_or_length_is_refused():
    with pytest.raises(ValueError, match="account provider is ' '; expected text"):
        FocusAccount("acct-1", "GPU platform", " ")
    with pytest.raises(ValueError, match="every is 'week'; valid are hour, day"):
        focus(served(), every="week")


allocations = st.lists(
    st.builds(
        lambda make, hours, tenant, price, seconds, nanousd: make(
            hours, tenant=tenant, price=price, gpu_seconds=seconds, cost_nanousd=nanousd
        ),
        st.sampled_from([served, idle]),
        st.integers(0, 30),
        st.sampled_from([None, "acme", "blue"]),
        st.sampled_from([None, "h100", "spot", "nobody's", "coreweave-h200-on-demand"]),
        st.floats(0, 360_000),
        st.integers(0, 10**13),
    ),
    min_size=1,
    max_size=12,
)


@given(allocations, st.sampled_from(["hour", "day"]))
def test_what_is_billed_adds_up_to_the_bill_exactly_and_the_rows_are_sound(rows, every):
    found = focus(*rows, every=every)
    bill = sum(row["cost_nanousd"] for row in rows)
    for cost in focus_check.COSTS:
        assert found[cost].sum() == Decimal(bill).scaleb(-9)
    assert found["x_GpuSeconds"].sum() == pytest.approx(sum(row["gpu_seconds"] for row in rows))


# The check itself: each of its rules finds what it is there for

NO = None
BROKEN: dict[str, dict[str, object]] = {
    **{f"{name} is null": {name: NO} for name in focus_check.NOT_NULL},
    **{f"{name} is null though something is used": {name: NO} for name in focus_check.OF_USAGE},
    **{f"{name} is told of a tax": {"ChargeCategory": "Tax"} for name in (*focus_check.OF_USAGE, "ConsumedQuantity")},
    **{
        f"{name} and {other} are not null together": {
            name: "x" if name.startswith(("Capacity", "Commitment", "Region")) else NO
        }
        for name, other in focus_check.TOGETHER.items()
    },
    **{
        f"{name} is told without {other}": {name: 1 if "Quantity" in name else '{"x_A": 1}', other: NO}
        for name, other in focus_check.ONLY_WITH.items()
    },
    **{f"{name} is not one of {', '.join(valid)}": {name: "Nonsense"} for name, valid in focus_check.ALLOWED.items()},
    **{f"{name} is blank, where null is meant": {name: " "} for name in (*focus_check.TEXTS, *focus_check.JSON)},
    **{f"{name} is below 0": {name: -1} for name in focus_check.UNIT_PRICES},
    **{f"{name} is no currency of ISO 4217": {name: "usd"} for name in ("BillingCurrency", "PricingCurrency")},
    **{f"{name} is no unit": {name: "gpu_hours"} for name in ("CommitmentDiscountUnit", "ConsumedUnit", "PricingUnit")},
    **{f"{name} is no flat JSON object": {name: '{"x_A": [1]}'} for name in focus_check.JSON},
    "ServiceSubcategory is not one of its category": {"ServiceSubcategory": "Backup Storage"},
    "SkuPriceDetails has keys that FOCUS does not know, without x_": {"SkuPriceDetails": '{"GpuModel": "H100"}'},
    "BillingPeriodEnd is not after BillingPeriodStart": {"BillingPeriodEnd": datetime(2026, 11, 1, tzinfo=UTC)},
    "ChargePeriodEnd is not after ChargePeriodStart": {"ChargePeriodEnd": at()},
    "the charge period is outside of the billing period": {"BillingPeriodStart": at(0.5)},
    "ListCost is not ListUnitPrice times PricingQuantity": {"ListCost": 2},
    "ContractedCost is not ContractedUnitPrice times PricingQuantity": {"ContractedUnitPrice": 2},
    "BilledCost is not 0 though a third party is paid": {"InvoiceIssuerName": "Market Place"},
    "ContractedCost, ListCost or EffectiveCost is not the BilledCost of a credit": {
        "ChargeCategory": "Credit",
        "ListCost": 2,
    },
    "PricingCurrencyEffectiveCost is not EffectiveCost in the same currency": {"PricingCurrencyEffectiveCost": 2},
    "ConsumedQuantity is null though something is used": {"ConsumedQuantity": NO},
    "a purchase is said to be usage-based": {"ChargeCategory": "Purchase"},
    "a committed price names no commitment": {"PricingCategory": "Committed"},
    "ResourceName repeats ResourceId": {"ResourceName": "chat"},
}


def broken(rows, values):
    """The rows with these values in the first."""
    first = rows.head(1).with_columns(
        pl.lit(value).cast(rows.schema[name]).alias(name) for name, value in values.items()
    )
    return pl.concat([first, rows.tail(-1)])


def test_every_rule_of_the_check_is_tried():
    assert BROKEN.keys() == focus_check.rules().keys()
    assert sorted(FOCUS_COLUMNS) == focus_check.COLUMNS


@pytest.mark.parametrize("rule", BROKEN)
def test_the_check_finds_what_breaks_its_rule(rule):
    rows = focus(served(), idle(hours=1))
    assert f"{rule} (1 rows)" in focus_problems(broken(rows, BROKEN[rule]))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.drop("SkuMeter"), "SkuMeter is missing"),
        (
            lambda rows: rows.with_columns(Colour=pl.lit("red")),
            "Colour is no column of FOCUS, and does not begin with x_",
        ),
        (lambda rows: rows.select("x_Use", pl.all().exclude("x_Use")), "columns of our own stand among those of FOCUS"),
        (lambda rows: rows.with_columns(pl.col("BilledCost").cast(pl.String)), "BilledCost is String, not a decimal"),
        (
            lambda rows: rows.with_columns(pl.col("ChargePeriodEnd").dt.replace_time_zone(None)),
            "ChargePeriodEnd is Datetime(time_unit='us', time_zone=None), not a time in UTC",
        ),
        (lambda rows: rows.with_columns(pl.col("ChargeClass").cast(pl.Boolean)), "ChargeClass is Boolean, not text"),
        (
            lambda rows: broken(rows, {"ServiceCategory": "Storage", "ServiceSubcategory": "Block Storage"}),
            "ServiceName has more than one ServiceCategory (1 of them)",
        ),
        (
            lambda rows: broken(rows, {"ServiceSubcategory": "Bots"}),
            "ServiceName has more than one ServiceSubcategory (1 of them)",
        ),
        (lambda rows: broken(rows, {"SkuId": "other"}), "SkuPriceId has more than one SkuId (1 of them)"),
    ],
)
def test_the_check_finds_columns_and_names_that_cannot_be(change, told):
    assert told in focus_problems(change(focus(served(), served(hours=1))))


def test_the_check_knows_units_as_focus_writes_them():
    for unit in ("GPU-Hours", "Hours", "1000 Tokens", "GB", "GiB-Months", "Requests/Second", "Units/3 Months"):
        assert focus_check.UNIT.fullmatch(unit), unit
    for unit in ("GPU Hours per day", "gpu-hours", "GB-hour", "Hour", "0.5 Hours"):
        assert not focus_check.UNIT.fullmatch(unit), unit
