"""FOCUS 1.2, checked by hand-written rules: what is wrong with rows, in words.

Written from the published specification (FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, tag v1.2), apart from the code
that makes the rows: names, types, null rules, allowed values, formats and relations are told here once more.
"""

import json
import re
from collections.abc import Iterable

import polars as pl

NOT_NULL = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd"),
    *("ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingCurrency"),
    *("PricingCurrencyEffectiveCost", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"),
    "ServiceSubcategory",
)
"""ChargeDescription only should not be, and BillingAccountName must where accounts have names: ours have."""

OF_USAGE = (
    *("ContractedUnitPrice", "ListUnitPrice", "PricingCategory", "PricingCurrencyContractedUnitPrice"),
    *("PricingCurrencyListUnitPrice", "PricingQuantity", "SkuId", "SkuPriceId"),
)
"""Not null for usage and purchases that correct nothing; null for taxes."""

TOGETHER = {
    "BillingAccountType": "BillingAccountId",
    "CapacityReservationStatus": "CapacityReservationId",
    "CommitmentDiscountCategory": "CommitmentDiscountId",
    "CommitmentDiscountStatus": "CommitmentDiscountId",
    "CommitmentDiscountType": "CommitmentDiscountId",
    "CommitmentDiscountUnit": "CommitmentDiscountQuantity",
    "ConsumedUnit": "ConsumedQuantity",
    "PricingUnit": "PricingQuantity",
    "RegionName": "RegionId",
    "ResourceType": "ResourceId",
    "SkuMeter": "SkuId",
    "SubAccountName": "SubAccountId",
    "SubAccountType": "SubAccountId",
}
"""Null exactly where the other is, for charges of usage."""

ONLY_WITH = {
    "CommitmentDiscountName": "CommitmentDiscountId",
    "CommitmentDiscountQuantity": "CommitmentDiscountId",
    "ResourceName": "ResourceId",
    "SkuPriceDetails": "SkuPriceId",
}
"""Null where the other is."""

SUBCATEGORIES = {
    "AI and Machine Learning": "AI Platforms|Bots|Generative AI|Machine Learning|Natural Language Processing",
    "Analytics": "Analytics Platforms|Business Intelligence|Data Processing|Search|Streaming Analytics",
    "Business Applications": "Productivity and Collaboration",
    "Compute": "Containers|End User Computing|Quantum Compute|Serverless Compute|Virtual Machines",
    "Databases": "Caching|Data Warehouses|Ledger Databases|NoSQL Databases|Relational Databases|Time Series Databases",
    "Developer Tools": "Developer Platforms|Continuous Integration and Deployment|Development Environments|"
    "Source Code Management|Quality Assurance",
    "Identity": "Identity and Access Management",
    "Integration": "API Management|Messaging|Workflow Orchestration",
    "Internet of Things": "IoT Analytics|IoT Platforms",
    "Management and Governance": "Architecture|Compliance|Cost Management|Data Governance|Disaster Recovery|"
    "Endpoint Management|Observability|Support",
    "Media": "Content Creation|Gaming|Media Streaming|Mixed Reality",
    "Migration": "Data Migration|Resource Migration",
    "Mobile": "",
    "Multicloud": "Multicloud Integration",
    "Networking": "Application Networking|Content Delivery|Network Connectivity|Network Infrastructure|"
    "Network Routing|Network Security",
    "Security": "Secret Management|Security Posture Management|Threat Detection and Response",
    "Storage": "Backup Storage|Block Storage|File Storage|Object Storage|Storage Platforms",
    "Web": "Application Platforms",
    "Other": "",
}
"""By category; each has `Other (…)` too."""

ALLOWED = {
    "CapacityReservationStatus": ("Used", "Unused"),
    "ChargeCategory": ("Usage", "Purchase", "Tax", "Credit", "Adjustment"),
    "ChargeClass": ("Correction",),
    "ChargeFrequency": ("One-Time", "Recurring", "Usage-Based"),
    "CommitmentDiscountCategory": ("Spend", "Usage"),
    "CommitmentDiscountStatus": ("Used", "Unused"),
    "PricingCategory": ("Standard", "Dynamic", "Committed", "Other"),
    "ServiceCategory": tuple(SUBCATEGORIES),
}

COSTS = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost", "PricingCurrencyEffectiveCost")
UNIT_PRICES = (
    *("ContractedUnitPrice", "ListUnitPrice", "PricingCurrencyContractedUnitPrice"),
    "PricingCurrencyListUnitPrice",
)
QUANTITIES = ("CommitmentDiscountQuantity", "ConsumedQuantity", "PricingQuantity")
TIMES = ("BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart")
JSON = ("SkuPriceDetails", "Tags")
TEXTS = (
    *("AvailabilityZone", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency"),
    *("CapacityReservationId", "CapacityReservationStatus", "ChargeCategory", "ChargeClass", "ChargeDescription"),
    *("ChargeFrequency", "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName"),
    *("CommitmentDiscountStatus", "CommitmentDiscountType", "CommitmentDiscountUnit", "ConsumedUnit", "InvoiceId"),
    *("InvoiceIssuerName", "PricingCategory", "PricingCurrency", "PricingUnit", "ProviderName", "PublisherName"),
    *("RegionId", "RegionName", "ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName"),
    *("ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceId", "SubAccountId", "SubAccountName", "SubAccountType"),
)
COLUMNS = sorted((*COSTS, *UNIT_PRICES, *QUANTITIES, *TIMES, *JSON, *TEXTS))

ONE_OF_EACH = {"ServiceName": ("ServiceCategory", "ServiceSubcategory"), "SkuPriceId": ("SkuId",)}
"""Each name has one of the others, through all rows."""

_TIME_UNIT = "(Year|Month|Day|Hour|Minute|Second)"
_SIZE = "([KMGTPE]i?)?[bB]"
_COUNT = "[A-Z][A-Za-z0-9]*( [A-Z][A-Za-z0-9]*)*"
UNIT = re.compile(
    rf"(\d+ )?({_SIZE}|{_COUNT}s|{_TIME_UNIT}s)|({_SIZE}|{_COUNT})-{_TIME_UNIT}s"
    rf"|({_SIZE}|{_COUNT}s)/({_TIME_UNIT}|\d+ {_TIME_UNIT}s)"
)
SKU_PROPERTIES = {
    *("CoreCount", "DiskMaxIops", "DiskSpace", "DiskType", "GpuCount", "InstanceType", "InstanceSeries", "MemorySize"),
    *("NetworkMaxIops", "NetworkMaxThroughput", "OperatingSystem", "Redundancy", "StorageClass"),
}


def _bears_price() -> pl.Expr:
    return pl.col("ChargeCategory").is_in(["Usage", "Purchase"]) & pl.col("ChargeClass").is_null()


def _not_product(price: str, cost: str) -> pl.Expr:
    product = pl.col(price).cast(pl.Float64) * pl.col("PricingQuantity").cast(pl.Float64)
    paid = pl.col(cost).cast(pl.Float64)
    return pl.col("ChargeClass").is_null() & ((product - paid).abs() > 1e-9 * pl.max_horizontal(paid.abs(), 1.0))


def rules() -> dict[str, pl.Expr]:
    """What is wrong with a row, and where it is so."""
    usage = pl.col("ChargeCategory") == "Usage"
    found = {f"{name} is null": pl.col(name).is_null() for name in NOT_NULL}
    found |= {f"{name} is null though something is used": _bears_price() & pl.col(name).is_null() for name in OF_USAGE}
    found |= {
        f"{name} is told of a tax": (pl.col("ChargeCategory") == "Tax") & pl.col(name).is_not_null()
        for name in (*OF_USAGE, "ConsumedQuantity")
    }
    found |= {
        f"{name} and {other} are not null together": usage & (pl.col(name).is_null() != pl.col(other).is_null())
        for name, other in TOGETHER.items()
    }
    found |= {
        f"{name} is told without {other}": pl.col(name).is_not_null() & pl.col(other).is_null()
        for name, other in ONLY_WITH.items()
    }
    found |= {
        f"{name} is not one of {', '.join(valid)}": pl.col(name).is_not_null() & ~pl.col(name).is_in(valid)
        for name, valid in ALLOWED.items()
    }
    found |= {f"{name} is blank, where null is meant": pl.col(name).str.strip_chars() == "" for name in (*TEXTS, *JSON)}
    found |= {f"{name} is below 0": pl.col(name) < 0 for name in UNIT_PRICES}
    found |= {
        f"{name} is no currency of ISO 4217": ~pl.col(name).str.contains("^[A-Z]{3}$")
        for name in ("BillingCurrency", "PricingCurrency")
    }
    found |= {
        f"{name} is no unit": ~pl.col(name).map_elements(lambda unit: bool(UNIT.fullmatch(unit)), pl.Boolean)
        for name in ("CommitmentDiscountUnit", "ConsumedUnit", "PricingUnit")
    }
    found |= {f"{name} is no flat JSON object": ~pl.col(name).map_elements(_is_flat_json, pl.Boolean) for name in JSON}
    subcategories = [
        f"{category}/{one}"
        for category, told in SUBCATEGORIES.items()
        for one in (*told.split("|"), f"Other ({category})")
    ]
    return found | {
        "ServiceSubcategory is not one of its category": ~pl.concat_str(
            "ServiceCategory", pl.lit("/"), "ServiceSubcategory"
        ).is_in(subcategories),
        "SkuPriceDetails has keys that FOCUS does not know, without x_": ~pl.col("SkuPriceDetails").map_elements(
            _knows_keys, pl.Boolean
        ),
        "BillingPeriodEnd is not after BillingPeriodStart": pl.col("BillingPeriodEnd") <= pl.col("BillingPeriodStart"),
        "ChargePeriodEnd is not after ChargePeriodStart": pl.col("ChargePeriodEnd") <= pl.col("ChargePeriodStart"),
        "the charge period is outside of the billing period": (
            pl.col("ChargePeriodStart") < pl.col("BillingPeriodStart")
        )
        | (pl.col("ChargePeriodEnd") > pl.col("BillingPeriodEnd")),
        "ListCost is not ListUnitPrice times PricingQuantity": _not_product("ListUnitPrice", "ListCost"),
        "ContractedCost is not ContractedUnitPrice times PricingQuantity": _not_product(
            "ContractedUnitPrice", "ContractedCost"
        ),
        "BilledCost is not 0 though a third party is paid": (pl.col("ProviderName") != pl.col("InvoiceIssuerName"))
        & (pl.col("BilledCost") != 0),
        "ContractedCost, ListCost or EffectiveCost is not the BilledCost of a credit": pl.col("ChargeCategory").is_in(
            ["Credit", "Adjustment"]
        )
        & pl.any_horizontal(
            pl.col(name) != pl.col("BilledCost") for name in ("ContractedCost", "ListCost", "EffectiveCost")
        ),
        "PricingCurrencyEffectiveCost is not EffectiveCost in the same currency": (
            pl.col("PricingCurrency") == pl.col("BillingCurrency")
        )
        & (pl.col("PricingCurrencyEffectiveCost") != pl.col("EffectiveCost")),
        "ConsumedQuantity is null though something is used": usage
        & pl.col("ChargeClass").is_null()
        & pl.col("CommitmentDiscountStatus").ne_missing(pl.lit("Unused"))
        & pl.col("ConsumedQuantity").is_null(),
        "a purchase is said to be usage-based": (pl.col("ChargeCategory") == "Purchase")
        & (pl.col("ChargeFrequency") == "Usage-Based"),
        "a committed price names no commitment": (pl.col("PricingCategory") == "Committed")
        & pl.col("CommitmentDiscountId").is_null(),
        "ResourceName repeats ResourceId": pl.col("ResourceName") == pl.col("ResourceId"),
    }


def focus_problems(rows: pl.DataFrame) -> list[str]:
    """What is wrong with rows that should be FOCUS 1.2; empty where nothing is."""
    problems = list(_column_problems(rows))
    if problems:
        return problems
    counts = rows.select(broken.sum().alias(problem) for problem, broken in rules().items()).row(0, named=True)
    problems += [f"{problem} ({count} rows)" for problem, count in counts.items() if count]
    for name, others in ONE_OF_EACH.items():
        for other in others:
            count = rows.group_by(name).agg(pl.col(other).n_unique()).filter(pl.col(other) > 1).height
            if count:
                problems.append(f"{name} has more than one {other} ({count} of them)")
    return problems


def _column_problems(rows: pl.DataFrame) -> Iterable[str]:
    for name in COLUMNS:
        if name not in rows.columns:
            yield f"{name} is missing"
    for name, kind in rows.schema.items():
        if name not in COLUMNS and not re.fullmatch(r"x_[A-Z][A-Za-z0-9]*", name):
            yield f"{name} is no column of FOCUS, and does not begin with x_"
        elif name in (*COSTS, *UNIT_PRICES, *QUANTITIES) and not (kind.is_decimal() or kind.is_float()):
            yield f"{name} is {kind}, not a decimal"
        elif name in TIMES and kind != pl.Datetime("us", "UTC"):
            yield f"{name} is {kind}, not a time in UTC"
        elif name in (*TEXTS, *JSON) and kind != pl.String:
            yield f"{name} is {kind}, not text"
    custom = [name.startswith("x_") for name in rows.columns]
    if custom != sorted(custom):
        yield "columns of our own stand among those of FOCUS"


def _is_flat_json(text: str) -> bool:
    pairs: list[tuple[str, object]] = []
    try:
        document = json.loads(text, object_pairs_hook=lambda found: pairs.extend(found) or dict(found))
    except ValueError:
        return False
    keys = [key for key, _ in pairs]
    return (
        isinstance(document, dict)
        and len(keys) == len(set(keys))
        and all(isinstance(value, str | int | float | None) for value in document.values())
    )


def _knows_keys(text: str) -> bool:
    try:
        document = json.loads(text)
    except ValueError:
        return True
    return not isinstance(document, dict) or all(key in SKU_PROPERTIES or key.startswith("x_") for key in document)
