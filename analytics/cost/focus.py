"""The bill as FOCUS 1.2 rows (FinOps Open Cost and Usage Specification), for tools that read cloud bills.

All 57 columns are there. Costs are decimals of nine digits, so they add up to the bill exactly. What FOCUS has no
column for is in columns that begin with `x_`, and for tools that group by tags in `Tags`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import polars as pl

from analytics.cost.price_book import Overhead, OverheadKind, PriceBook, mean_prices
from domain.cost import NANOUSD, Price, PriceMode, Use
from domain.window import Window

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
"""How FOCUS writes times: for `write_csv(datetime_format=TIME_FORMAT)`."""

_TIME = pl.Datetime("us", "UTC")
_COST = pl.Decimal(38, 9)
_NUMBER = pl.Decimal(38, 12)
_TEXT = pl.String()

FOCUS_COLUMNS: dict[str, pl.DataType] = {
    "AvailabilityZone": _TEXT,
    "BilledCost": _COST,
    "BillingAccountId": _TEXT,
    "BillingAccountName": _TEXT,
    "BillingAccountType": _TEXT,
    "BillingCurrency": _TEXT,
    "BillingPeriodEnd": _TIME,
    "BillingPeriodStart": _TIME,
    "CapacityReservationId": _TEXT,
    "CapacityReservationStatus": _TEXT,
    "ChargeCategory": _TEXT,
    "ChargeClass": _TEXT,
    "ChargeDescription": _TEXT,
    "ChargeFrequency": _TEXT,
    "ChargePeriodEnd": _TIME,
    "ChargePeriodStart": _TIME,
    "CommitmentDiscountCategory": _TEXT,
    "CommitmentDiscountId": _TEXT,
    "CommitmentDiscountName": _TEXT,
    "CommitmentDiscountQuantity": _NUMBER,
    "CommitmentDiscountStatus": _TEXT,
    "CommitmentDiscountType": _TEXT,
    "CommitmentDiscountUnit": _TEXT,
    "ConsumedQuantity": _NUMBER,
    "ConsumedUnit": _TEXT,
    "ContractedCost": _COST,
    "ContractedUnitPrice": _NUMBER,
    "EffectiveCost": _COST,
    "InvoiceId": _TEXT,
    "InvoiceIssuerName": _TEXT,
    "ListCost": _COST,
    "ListUnitPrice": _NUMBER,
    "PricingCategory": _TEXT,
    "PricingCurrency": _TEXT,
    "PricingCurrencyContractedUnitPrice": _NUMBER,
    "PricingCurrencyEffectiveCost": _COST,
    "PricingCurrencyListUnitPrice": _NUMBER,
    "PricingQuantity": _NUMBER,
    "PricingUnit": _TEXT,
    "ProviderName": _TEXT,
    "PublisherName": _TEXT,
    "RegionId": _TEXT,
    "RegionName": _TEXT,
    "ResourceId": _TEXT,
    "ResourceName": _TEXT,
    "ResourceType": _TEXT,
    "ServiceCategory": _TEXT,
    "ServiceName": _TEXT,
    "ServiceSubcategory": _TEXT,
    "SkuId": _TEXT,
    "SkuMeter": _TEXT,
    "SkuPriceDetails": _TEXT,
    "SkuPriceId": _TEXT,
    "SubAccountId": _TEXT,
    "SubAccountName": _TEXT,
    "SubAccountType": _TEXT,
    "Tags": _TEXT,
}
"""The columns that FOCUS 1.2 defines, in its order."""

CUSTOM_COLUMNS: dict[str, pl.DataType] = {
    "x_Use": _TEXT,
    "x_IdleCause": _TEXT,
    "x_Service": _TEXT,
    "x_Model": _TEXT,
    "x_Tenant": _TEXT,
    "x_Pool": _TEXT,
    "x_GpuSeconds": pl.Float64(),
    "x_Requests": pl.UInt64(),
    "x_InputTokens": pl.UInt64(),
    "x_OutputTokens": pl.UInt64(),
    "x_IsEstimated": pl.Boolean(),
    "x_IsListPrice": pl.Boolean(),
}
"""Our own: what the charge went to. `x_IsListPrice`: the price is a public one, not one that the user gave."""

_KEYS = ("use", "service", "model", "tenant", "pool", "price", "idle_cause")
_INFERENCE = ("AI and Machine Learning", "Generative AI", "GPU Inference")
_OVERHEADS: Mapping[OverheadKind, tuple[str, str, str]] = {
    OverheadKind.STORAGE: ("Storage", "Other (Storage)", "Inference Storage"),
    OverheadKind.NETWORK: ("Networking", "Other (Networking)", "Inference Network"),
    OverheadKind.SUPPORT: ("Management and Governance", "Support", "Inference Support"),
    OverheadKind.OTHER: ("Other", "Other (Other)", "Inference Overhead"),
}
# A reserved price is one agreed beforehand, so Standard: Committed needs the discount's purchase in the same bill.
_CATEGORIES = {PriceMode.SPOT: "Dynamic", PriceMode.OWNED: "Other"}


_TOLD: dict[str, pl.DataType] = dict.fromkeys(
    (
        *("AvailabilityZone", "ChargeDescription", "ChargeFrequency", "PricingCategory", "RegionId", "ResourceId"),
        *("ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter"),
        *("SkuPriceDetails", "SkuPriceId", "Tags"),
    ),
    pl.String(),
) | {"x_IsListPrice": pl.Boolean()}

_NULL = pl.lit(None)
_OF_ROW: dict[str, pl.Expr] = {
    **dict.fromkeys(
        ("BilledCost", "EffectiveCost", "ContractedCost", "ListCost", "PricingCurrencyEffectiveCost"), pl.col("cost")
    ),
    **dict.fromkeys(
        (
            *("ContractedUnitPrice", "ListUnitPrice"),
            *("PricingCurrencyContractedUnitPrice", "PricingCurrencyListUnitPrice"),
        ),
        pl.col("unit_price"),
    ),
    **dict.fromkeys(("BillingCurrency", "PricingCurrency"), pl.lit("USD")),
    **dict.fromkeys(("PricingUnit", "ConsumedUnit"), pl.col("unit")),
    **dict.fromkeys(("SubAccountId", "SubAccountName", "x_Tenant"), pl.col("tenant")),
    **dict.fromkeys(
        (name for name in FOCUS_COLUMNS if name.startswith(("CommitmentDiscount", "CapacityReservation"))), _NULL
    ),
    "BillingPeriodStart": pl.col("start").dt.truncate("1mo"),
    "BillingPeriodEnd": pl.col("start").dt.truncate("1mo").dt.offset_by("1mo"),
    "ChargePeriodStart": pl.col("start"),
    "ChargePeriodEnd": pl.col("end"),
    "ChargeCategory": pl.lit("Usage"),
    "ChargeClass": _NULL,
    "ConsumedQuantity": pl.col("consumed"),
    "PricingQuantity": pl.col("quantity"),
    "RegionName": pl.col("RegionId"),
    "ResourceName": _NULL,
    "SubAccountType": pl.when(pl.col("tenant").is_not_null()).then(pl.lit("Tenant")),
    "x_Use": pl.col("use"),
    "x_IdleCause": pl.col("idle_cause"),
    "x_Service": pl.col("service"),
    "x_Model": pl.col("model"),
    "x_Pool": pl.col("pool"),
    "x_GpuSeconds": pl.col("gpu_seconds"),
    "x_Requests": pl.col("requests"),
    "x_InputTokens": pl.col("input_tokens"),
    "x_OutputTokens": pl.col("output_tokens"),
    "x_IsEstimated": pl.col("is_estimated"),
}


@dataclass(frozen=True, slots=True)
class FocusAccount:
    """Who is billed and who bills: what no telemetry tells.

    Attributes:
        id: of the account that is billed, unique at the provider.
        name: of it, for people.
        provider: who runs the inference cloud, and bills for it.
        kind: what an account is called there.
        publisher: who made what is sold; the provider, if empty.
        invoice_id: of the invoice or its draft, if there is one.

    Raises:
        ValueError: for an empty id, name, provider or kind.
    """

    id: str
    name: str
    provider: str
    kind: str = "Billing Account"
    publisher: str = ""
    invoice_id: str | None = None

    def __post_init__(self) -> None:
        for one in fields(self)[:4]:
            value = getattr(self, one.name)
            if not value.strip():
                raise ValueError(f"account {one.name} is {value!r}; expected text: FOCUS needs it in each row")


def focus_rows(
    allocation: pl.DataFrame,
    book: PriceBook,
    account: FocusAccount,
    window: Window,
    *,
    every: Literal["hour", "day"] = "hour",
) -> pl.DataFrame:
    """The bill of a window, one row a period and use, service, model, tenant, pool, price and cause of idleness.

    Idle and unattributed GPU time and each overhead have rows of their own. Tenants are sub accounts. The unit price is
    the mean of the book's over the period, and the quantity that is priced is the cost by it; what the book does not
    price is told by its hours. Where no list price is known beside the user's own it is taken to be the same.

    Args:
        allocation: rows of schema `ALLOCATION`; the `price` of an overhead is its name in the book.
        book: the prices the costs come from.
        account: who is billed by whom.
        window: rows whose hour starts inside are told.
        every: the length of a charge period, in UTC.

    Returns:
        `FOCUS_COLUMNS` then `CUSTOM_COLUMNS`, by time. The sum of BilledCost is that of `cost_nanousd`, exactly.

    Raises:
        ValueError: for another length.
    """
    if every not in ("hour", "day"):
        raise ValueError(f"every is {every!r}; valid are hour, day")
    sums = _sums(allocation, window, "1h" if every == "hour" else "1d")
    last = window.end - timedelta(microseconds=1)
    told = [_told(book, last, key) for key in sums.select(_KEYS).unique().rows(named=True)]
    told_frame = pl.DataFrame(told, schema={**dict.fromkeys(_KEYS, pl.String()), **_TOLD})
    rows = sums.join(told_frame, on=_KEYS, how="left", nulls_equal=True).join(
        _mean_prices(book, sums), on=["price", "start", "end"], how="left"
    )
    gpu_hours = (pl.col("gpu_seconds") / 3600).round(12)
    is_gpu = pl.col("_mean").is_not_null() | (gpu_hours > 0)
    cost_usd = pl.col("cost_nanousd") / NANOUSD
    consumed = pl.when(is_gpu).then(gpu_hours).otherwise(pl.col("_hours"))
    quantity = pl.when(pl.col("_mean").is_not_null()).then(cost_usd / pl.col("_mean")).otherwise(consumed)
    unit_price = pl.coalesce(pl.col("_mean"), cost_usd / consumed)
    unit = pl.when(is_gpu).then(pl.lit("GPU-Hours")).otherwise(pl.lit("Hours"))
    rows = rows.with_columns(
        consumed=consumed.cast(_NUMBER),
        quantity=quantity.round(12).cast(_NUMBER),
        unit_price=unit_price.round(12).cast(_NUMBER),
        unit=unit,
        cost=pl.col("cost_nanousd").cast(_COST) * pl.lit(Decimal(1).scaleb(-9)).cast(_COST),
    ).with_columns(
        pl.format(
            "{} at {} USD for {}",
            "ChargeDescription",
            unit_price.round(6),
            pl.when(is_gpu).then(pl.lit("a GPU-hour")).otherwise(pl.lit("an hour")),
        ).alias("ChargeDescription")
    )
    columns = {**FOCUS_COLUMNS, **CUSTOM_COLUMNS}
    given = {**_of_account(account), **_OF_ROW}
    selected = [given.get(name, pl.col(name)).cast(kind).alias(name) for name, kind in columns.items()]
    return rows.sort("start", *_KEYS, nulls_last=True).select(selected)


def _of_account(account: FocusAccount) -> dict[str, pl.Expr]:
    return {
        "BillingAccountId": pl.lit(account.id),
        "BillingAccountName": pl.lit(account.name),
        "BillingAccountType": pl.lit(account.kind),
        "InvoiceId": pl.lit(account.invoice_id),
        "InvoiceIssuerName": pl.lit(account.provider),
        "ProviderName": pl.lit(account.provider),
        "PublisherName": pl.lit(account.publisher or account.provider),
    }


def _sums(allocation: pl.DataFrame, window: Window, every: str) -> pl.DataFrame:
    """The window's rows by period (start, end, _hours) and key."""
    start = pl.max_horizontal(pl.col("time").dt.truncate(every), pl.lit(window.start).cast(_TIME))
    end = pl.min_horizontal(pl.col("time").dt.truncate(every).dt.offset_by(every), pl.lit(window.end).cast(_TIME))
    keys = (pl.when(pl.col(key) != "").then(key).alias(key) for key in _KEYS)  # FOCUS wants null where nothing is known
    counted = ("gpu_seconds", "cost_nanousd", "requests", "input_tokens", "output_tokens")
    return (
        allocation.filter(pl.col("time").is_between(window.start, window.end, closed="left"))
        .group_by(start.alias("start"), end.alias("end"), *keys)
        .agg(*(pl.col(name).sum() for name in counted), pl.col("is_estimated").any())
        .with_columns(((pl.col("end") - pl.col("start")).dt.total_microseconds() / 3.6e9).alias("_hours"))
    )


def _mean_prices(book: PriceBook, sums: pl.DataFrame) -> pl.DataFrame:
    """The book's mean price by price and period, as `_mean`; null where it has none, or gives the GPU away."""
    mean = pl.col("usd_per_gpu_hour")
    return mean_prices(book, sums.select("price", "start", "end").drop_nulls().unique()).select(
        "price", "start", "end", pl.when(mean > 0).then(mean.round(12)).alias("_mean")
    )


def _told(book: PriceBook, moment: datetime, key: Mapping[str, str | None]) -> dict[str, Any]:
    """The text of all rows of a key; of a price that changed, as it stands at `moment`."""
    name = key["price"]
    price = book.price_at(name, moment) if name else None
    overhead = next((one for one in book.overheads if one.name == name), None)
    is_overhead = key["use"] == Use.OVERHEAD
    kind = overhead.kind if overhead else OverheadKind.OTHER
    category, subcategory, service_name = _OVERHEADS[kind] if is_overhead else _INFERENCE
    resource, resource_type = _resource(key)
    return {
        **key,
        "AvailabilityZone": price.zone or None if price else None,
        "ChargeDescription": _description(key),
        "ChargeFrequency": "Recurring" if is_overhead else "Usage-Based",
        "PricingCategory": _CATEGORIES.get(price.mode, "Standard") if price else "Standard",
        "RegionId": price.region or None if price else None,
        "ResourceId": resource,
        "ResourceType": resource_type,
        "ServiceCategory": category,
        "ServiceName": service_name,
        "ServiceSubcategory": subcategory,
        "SkuId": _sku(name, price, is_overhead=is_overhead),
        "SkuMeter": "Recurring Fee" if is_overhead else "GPU Hours",
        "SkuPriceDetails": _details(price, overhead),
        "SkuPriceId": _sku(name, None, is_overhead=is_overhead),
        "Tags": _json({f"tailsight/{tag}": key[tag] for tag in _KEYS if tag != "price"}),
        "x_IsListPrice": name in book.list_prices,
    }


def _resource(key: Mapping[str, str | None]) -> tuple[str | None, str | None]:
    for tag, kind in (("service", "Inference Service"), ("pool", "GPU Pool")):
        if key[tag] is not None and key["use"] != Use.OVERHEAD:
            return key[tag], kind
    return None, None


def _sku(name: str | None, price: Price | None, *, is_overhead: bool) -> str:
    if is_overhead:
        return f"overhead/{name or 'other'}"
    if price and price.provider and price.gpu_model:
        return f"{price.provider}/{price.gpu_model}"
    return name or "unpriced"


def _details(price: Price | None, overhead: Overhead | None) -> str | None:
    if price is None:
        return _json({"x_PriceSource": overhead.source, "x_PriceAsOf": overhead.as_of}) if overhead else None
    told = {"x_GpuModel": price.gpu_model, "x_PriceSource": price.source, "x_PriceAsOf": price.as_of}
    return _json({"GpuCount": 1, **told, "x_PriceMode": price.mode.value})


def _description(key: Mapping[str, str | None]) -> str:
    use, name = key["use"], key["price"]
    whose = ", ".join(f"{tag} {key[tag]}" for tag in ("model", "service", "tenant", "pool") if key[tag])
    of = f" of {whose}" if whose else ""
    if use == Use.OVERHEAD:
        return f"Overhead {name}" if name else "Overhead"
    if use == Use.IDLE:
        return f"Idle GPU time ({(key['idle_cause'] or 'cause not known').replace('_', ' ')}){of}"
    return f"GPU time for requests{of}" if use == Use.REQUESTS else f"GPU time that is not attributed{of}"


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in values.items() if value not in (None, "")}, ensure_ascii=False)
