"""The price book: what a GPU costs an hour, from when on, and which GPUs a price is for.

Money is exact: a price is taken to the billionth of a dollar an hour, times to the microsecond, and the product is
rounded once, to whole nano-dollars, half to even.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

import polars as pl
import yaml

from analytics.yaml_text import read_yaml
from domain.cost import NANOUSD, Price, PriceMatch, PriceMode
from domain.window import Window, from_rfc3339

HOURS_OF_A_MONTH = 730
"""Of a year of 365 days, a twelfth: what monthly amounts are turned into hourly ones by."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""When a price starts that says no `starts_at`."""

_US_PER_HOUR = 3_600_000_000
_USD_MAX = 1_000_000.0
_MICROSECOND = timedelta(microseconds=1)
_TIME = pl.Datetime("us", "UTC")

_MIG_PROFILE = re.compile(r"([1-7])g\.\d+gb(\+[a-z.]+)?", re.IGNORECASE)
_MIG_SLICES = frozenset((1, 2, 3, 4, 7))
_AS_OF = re.compile(r"\d{4}-(0[1-9]|1[0-2])|commit [0-9a-f]{7,40}\b.*")

_KEYS = ("prices", "matches", "mig_slices", "overheads")
_PRICE_KEYS = (
    *("name", "usd_per_gpu_hour", "owned", "history", "starts_at", "mode", "source", "as_of"),
    *("provider", "gpu_model", "region", "zone"),
)
_OWNED_KEYS = (
    *("capital_usd_per_gpu", "amortised_months", "power_watts_per_gpu", "pue", "usd_per_kwh"),
    "other_usd_per_gpu_month",
)
_MATCH_KEYS = ("price", "node", "gpu_model", "pool")
_OVERHEAD_KEYS = ("name", "usd_per_hour", "usd_per_month", "source", "as_of", "kind", "starts_at", "ends_at")


class PriceBookError(ValueError):
    """A price book that cannot be used; the message names the place, what was found and what is valid."""


class OverheadKind(StrEnum):
    """What an overhead pays for."""

    STORAGE = "storage"
    NETWORK = "network"
    SUPPORT = "support"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Overhead:
    """A fixed amount that no GPU's price holds: `usd_per_hour` from `starts_at` until `ends_at`, if it ends."""

    name: str
    usd_per_hour: float
    source: str
    as_of: str
    kind: OverheadKind = OverheadKind.OTHER
    starts_at: datetime = BEGINNING
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All prices known, and which GPUs they are for.

    Attributes:
        prices: of one name there may be several, each from its `starts_at` until the next one's.
        matches: which GPUs a price is for; the first that holds counts, and a GPU that none is for has no price.
        overheads: what is paid beside the GPUs.
        mig_slices: by profile, the share of a whole GPU's price that a MIG slice costs, where it is not g/7.
        list_prices: names of those prices that are public list prices, not the user's own.
    """

    prices: tuple[Price, ...] = ()
    matches: tuple[PriceMatch, ...] = ()
    overheads: tuple[Overhead, ...] = ()
    mig_slices: Mapping[str, float] = field(default_factory=dict)
    list_prices: frozenset[str] = frozenset()

    @property
    def names(self) -> list[str]:
        """The names of the prices."""
        return sorted({price.name for price in self.prices})

    def steps_of(self, name: str) -> list[Price]:
        """The prices of that name, the earliest first."""
        return sorted((price for price in self.prices if price.name == name), key=lambda price: price.starts_at)

    def price_at(self, name: str, moment: datetime) -> Price | None:
        """The price of that name in force at a moment; None before the first starts."""
        return next((price for price in reversed(self.steps_of(name)) if price.starts_at <= moment), None)

    def price_for(self, node: str | None, gpu_model: str | None, pool: str | None) -> str | None:
        """The name of the price that a GPU has; None when no match holds. What is not known matches `*` only."""
        known = (node or "", gpu_model or "", pool or "")
        return next((match.price for match in self.matches if match.holds(*known)), None)


@cache
def shipped_prices() -> PriceBook:
    """Public list prices as they were read, with matches by the GPU's model for those who configured no price."""
    document = yaml.safe_load((resources.files(__package__) / "prices.yaml").read_text())
    prices = _prices(document["prices"])
    names = frozenset(price.name for price in prices)
    return PriceBook(tuple(prices), tuple(_matches(document["matches"], names)), list_prices=names)


def read_price_book(text: str) -> PriceBook:
    """Read a price book from YAML; see `price_book_of`.

    Raises:
        PriceBookError: naming the place.
    """
    try:
        document = read_yaml(text)
    except yaml.YAMLError as error:
        raise PriceBookError(f"no YAML: {error}") from None
    return price_book_of(document)


def price_book_of(document: Any) -> PriceBook:
    """The book that a document of `prices`, `matches`, `mig_slices` and `overheads` tells, as YAML reads it.

    A match may name a shipped price; it stays marked as a list price, and a price of one's own by the same name takes
    its place. Without `prices` and `matches` the shipped ones hold. A price has name, source, as_of, and one of
    `usd_per_gpu_hour` (with `starts_at`, where it has not been so for ever), `history: [[time, usd], …]` and
    `owned: {capital_usd_per_gpu: 30000, amortised_months: 48, …}`, which is `owned_usd_per_gpu_hour`.

    Raises:
        PriceBookError: naming the place, what was found there and what is valid.
    """
    root = _fields({} if document is None else document, _KEYS, "price book")
    shipped = shipped_prices()
    if not root.get("prices") and not root.get("matches"):
        own, prices, matches = [], shipped.prices, shipped.matches
    else:
        own = _prices(root.get("prices"))
        own_names = {price.name for price in own}
        matches = tuple(_matches(root.get("matches"), own_names | shipped.list_prices))
        if not matches:
            raise PriceBookError(
                "matches is missing, so no GPU would have a price; expected at least "
                f"`matches: [{{price: {own[0].name}}}]`, which is for all"
            )
        named = {match.price for match in matches} - own_names
        prices = (*own, *(price for price in shipped.prices if price.name in named))
    return PriceBook(
        prices=prices,
        matches=matches,
        overheads=tuple(_overheads(root.get("overheads"), {price.name for price in prices})),
        mig_slices=_mig_slices(root.get("mig_slices")),
        list_prices=frozenset(price.name for price in prices) - {price.name for price in own},
    )


def owned_usd_per_gpu_hour(
    *,
    capital_usd_per_gpu: float,
    amortised_months: float,
    power_watts_per_gpu: float,
    pue: float,
    usd_per_kwh: float,
    other_usd_per_gpu_month: float = 0.0,
) -> float:
    """What an hour of one's own GPU costs, used or not.

    (capital / months + other) / 730 + watts / 1000 × PUE × dollars a kilowatt-hour.

    Args:
        capital_usd_per_gpu: its share of all that was bought: servers, network, racks.
        amortised_months: over how long that is written off, in equal parts.
        power_watts_per_gpu: its share of what the servers draw, on average.
        pue: power usage effectiveness: power of the whole site over power of the servers, 1 or more.
        usd_per_kwh: price of electricity.
        other_usd_per_gpu_month: space, hands, maintenance, interest.
    """
    fixed = (capital_usd_per_gpu / amortised_months + other_usd_per_gpu_month) / HOURS_OF_A_MONTH
    return fixed + power_watts_per_gpu / 1000.0 * pue * usd_per_kwh


def mig_ratio(profile: str, mig_slices: Mapping[str, float] | None = None) -> float:
    """The share of a whole GPU that a MIG slice is: its compute slices of seven, so `3g.40gb` is 3/7.

    Args:
        profile: as DCGM tells it, e.g. `1g.10gb` or `1g.10gb+me`.
        mig_slices: shares of one's own by profile, which go first.

    Raises:
        ValueError: for what is no profile.
    """
    own = (mig_slices or {}).get(profile.strip().lower())
    if own is not None:
        return own
    found = _MIG_PROFILE.fullmatch(profile.strip())
    if found is None or int(found[1]) not in _MIG_SLICES:
        raise ValueError(f"{profile!r} is no MIG profile; expected 1g, 2g, 3g, 4g or 7g and the memory, e.g. 1g.10gb")
    return int(found[1]) / 7


def cost_of(book: PriceBook, name: str, start: datetime, end: datetime) -> int:
    """What one whole GPU costs from `start` until `end`, in nano-dollars, through all changes of the price.

    Raises:
        ValueError: for a price that is not known, or not yet at `start`, and for times without zone or out of order.
    """
    return _rounded(_spent(book, name, start, end), _US_PER_HOUR)


def gpu_costs(book: PriceBook, gpu_hours: pl.DataFrame) -> pl.DataFrame:
    """What each GPU-hour costs.

    Args:
        book: the prices.
        gpu_hours: columns time (start), seconds (billed ones, counted from the start), node, gpu, gpu_model, pool,
            slice_ratio (1 for a whole GPU, `mig_ratio` for a slice).

    Returns:
        The same rows in the same order, with `price` (null where no match holds) and `cost_nanousd` (null where there
        is no price, or none yet, and where seconds or slice_ratio are not known).

    Raises:
        ValueError: for seconds below 0 or without end, or a slice_ratio that is not from 0 to 1.
    """
    for column, least, most in (("seconds", 0.0, math.inf), ("slice_ratio", 0.0, 1.0)):
        wrong = gpu_hours.filter(~pl.col(column).is_between(least, most) | (pl.col(column) == math.inf))[column]
        if wrong.len():
            raise ValueError(f"{column} is {wrong[0]}; expected a number from {least:g} to {most:g}")
    owners = ["node", "gpu_model", "pool"]
    whose = gpu_hours.select(owners).unique()
    names = pl.Series("price", [book.price_for(*owner) for owner in whose.rows()], dtype=pl.String)
    priced = gpu_hours.join(whose.with_columns(names), on=owners, how="left", nulls_equal=True, maintain_order="left")
    stretch = ["price", "time", "seconds"]
    spent = _spent_over(book, priced.select(stretch).drop_nulls().unique())
    whole = _rounded_expr(pl.col("_spent"), _US_PER_HOUR)
    sliced = (pl.col("_spent").cast(pl.Float64) * pl.col("slice_ratio") / _US_PER_HOUR).round()
    return (
        priced.join(spent, on=stretch, how="left", maintain_order="left")
        .with_columns(
            pl.when(pl.col("slice_ratio") == 1.0).then(whole).otherwise(sliced.cast(pl.Int64)).alias("cost_nanousd")
        )
        .drop("_spent")
    )


def mean_prices(book: PriceBook, periods: pl.DataFrame) -> pl.DataFrame:
    """The mean over time of prices that may change.

    Args:
        book: the prices.
        periods: columns price, start, end (Datetime in microseconds, UTC), `end` after `start`.

    Returns:
        The periods with `usd_per_gpu_hour`, null where the price is not known throughout.
    """
    seconds = (pl.col("end") - pl.col("start")).dt.total_microseconds() / 1e6
    stretches = periods.select("price", pl.col("start").alias("time"), seconds.alias("seconds")).drop_nulls().unique()
    mean = pl.col("_spent").cast(pl.Float64) / NANOUSD / (pl.col("seconds") * 1e6)
    return (
        periods.with_columns(seconds.alias("seconds"))
        .join(
            _spent_over(book, stretches),
            left_on=["price", "start", "seconds"],
            right_on=["price", "time", "seconds"],
            how="left",
            maintain_order="left",
        )
        .with_columns(mean.alias("usd_per_gpu_hour"))
        .drop("seconds", "_spent")
    )


def overhead_costs(book: PriceBook, window: Window) -> pl.DataFrame:
    """The overheads by hour.

    Returns:
        Columns time (start of the hour), overhead (its name), cost_nanousd, by time and name; of an hour that the
        window or the overhead holds in part, that part.
    """
    rows = []
    for overhead in sorted(book.overheads, key=lambda one: one.name):
        start = max(window.start, overhead.starts_at)
        end = min(window.end, overhead.ends_at or window.end)
        rate = _rate(overhead.usd_per_hour)
        while start < end:
            hour = start.replace(minute=0, second=0, microsecond=0)
            until = min(end, hour + timedelta(hours=1))
            rows.append((hour, overhead.name, _rounded(rate * ((until - start) // _MICROSECOND), _US_PER_HOUR)))
            start = until
    schema = {"time": _TIME, "overhead": pl.String(), "cost_nanousd": pl.Int64()}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("time", "overhead")


def _rate(usd_per_hour: float) -> int:
    """Nano-dollars an hour, from the decimal that the number is written as."""
    return round(Decimal(repr(usd_per_hour)) * NANOUSD)


def _rounded(value: int, by: int) -> int:
    quotient, rest = divmod(value, by)
    return quotient + (2 * rest > by or (2 * rest == by and quotient % 2 == 1))


def _rounded_expr(value: pl.Expr, by: int) -> pl.Expr:
    """`_rounded` of a column, as Int64."""
    quotient = value // pl.lit(by, pl.Int128)
    twice = (value - quotient * pl.lit(by, pl.Int128)) * 2
    up = (twice > by) | ((twice == by) & (quotient % 2 == 1))
    return (quotient + up.cast(pl.Int128)).cast(pl.Int64)


def _spent(book: PriceBook, name: str, start: datetime, end: datetime) -> int:
    """Nano-dollars an hour times microseconds, over a stretch."""
    for moment in (start, end):
        if moment.tzinfo is None:
            raise ValueError(f"{moment.isoformat()} has no time zone; give UTC, e.g. {moment.isoformat()}Z")
    if end < start:
        raise ValueError(f"the stretch ends at {end.isoformat()}, before its start {start.isoformat()}")
    steps = book.steps_of(name)
    if not steps:
        raise ValueError(f"there is no price {name!r}; {_nearest(name, book.names)}")
    if start < steps[0].starts_at:
        raise ValueError(
            f"price {name} starts at {steps[0].starts_at.isoformat()}; it is not known at {start.isoformat()}"
        )
    ends = [*(step.starts_at for step in steps[1:]), end]
    return sum(
        _rate(step.usd_per_gpu_hour) * ((min(end, until) - max(start, step.starts_at)) // _MICROSECOND)
        for step, until in zip(steps, ends, strict=True)
        if step.starts_at < end and until > start
    )


def _spent_over(book: PriceBook, stretches: pl.DataFrame) -> pl.DataFrame:
    """The same for many stretches, as the difference of what was spent since the price began.

    Args:
        book: the prices.
        stretches: columns price, time, seconds.

    Returns:
        The stretches with `_spent`, Int128, null where the price is not known yet at `time`.
    """
    rows: list[tuple[str, datetime, int, int]] = []
    for name in book.names:
        before = 0
        steps = book.steps_of(name)
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            rate = _rate(step.usd_per_gpu_hour)
            rows.append((name, step.starts_at, rate, before))
            if following is not None:
                before += rate * ((following.starts_at - step.starts_at) // _MICROSECOND)
    schema = {"price": pl.String(), "since": _TIME, "rate": pl.Int128(), "before": pl.Int128()}
    steps_frame = pl.DataFrame(rows, schema=schema, orient="row").sort("since")

    def spent_until(moment: str) -> pl.Expr:
        inside = (pl.col(moment) - pl.col("since")).dt.total_microseconds().cast(pl.Int128)
        return pl.col("before") + pl.col("rate") * inside

    found = stretches.with_columns(
        (pl.col("time") + pl.duration(microseconds=(pl.col("seconds") * 1e6).round().cast(pl.Int64))).alias("_end")
    )
    for moment, column in (("time", "_at_start"), ("_end", "_at_end")):
        found = (
            found.sort(moment)
            .join_asof(
                steps_frame, left_on=moment, right_on="since", by="price", strategy="backward", check_sortedness=False
            )
            .with_columns(spent_until(moment).alias(column))
            .drop("since", "rate", "before")
        )
    return found.select("price", "time", "seconds", (pl.col("_at_end") - pl.col("_at_start")).alias("_spent"))


def _prices(documents: Any) -> list[Price]:
    found: list[Price] = []
    places: dict[tuple[str, datetime], str] = {}
    for number, entry in enumerate(_list(documents, "prices")):
        for place, price in _price_rows(entry, f"prices[{number}]"):
            taken = places.setdefault((price.name, price.starts_at), place)
            if taken != place:
                raise PriceBookError(
                    f"{place}: price {price.name} starts at {price.starts_at.isoformat()}, as {taken} does; expected "
                    "another time, or another name"
                )
            found.append(price)
    return found


def _price_rows(entry: Any, place: str) -> list[tuple[str, Price]]:
    fields = _fields(entry, _PRICE_KEYS, place)
    forms = [form for form in ("usd_per_gpu_hour", "owned", "history") if form in fields]
    if len(forms) != 1:
        told = " and ".join(forms) or "none"
        raise PriceBookError(f"{place} has {told}; expected one of usd_per_gpu_hour, owned, history")
    mode = fields.get("mode", PriceMode.OWNED if forms == ["owned"] else PriceMode.ON_DEMAND)
    price = Price(
        name=_text(fields, "name", place),
        usd_per_gpu_hour=0.0,
        starts_at=_time(fields["starts_at"], f"{place}.starts_at") if "starts_at" in fields else BEGINNING,
        mode=PriceMode(_one_of(mode, list(PriceMode), f"{place}.mode")),
        source=_text(fields, "source", place),
        as_of=_as_of(fields, place),
        **{key: _text(fields, key, place) for key in ("provider", "gpu_model", "region", "zone") if key in fields},
    )
    if forms == ["owned"]:
        return [(place, replace(price, usd_per_gpu_hour=_owned(fields["owned"], f"{place}.owned")))]
    if forms == ["usd_per_gpu_hour"]:
        usd = _usd(fields["usd_per_gpu_hour"], f"{place}.usd_per_gpu_hour")
        return [(place, replace(price, usd_per_gpu_hour=usd))]
    if "starts_at" in fields:
        raise PriceBookError(f"{place}.starts_at is given beside history, whose rows say when they start")
    return [*_history(price, fields["history"], f"{place}.history")]


def _history(price: Price, rows: Any, place: str) -> Iterable[tuple[str, Price]]:
    if not _list(rows, place):
        raise PriceBookError(f"{place} is empty; expected [[time, usd], …]")
    for number, row in enumerate(rows):
        here = f"{place}[{number}]"
        if not isinstance(row, list) or len(row) != 2:
            raise PriceBookError(f"{here} is {row!r}; expected [time, usd]")
        yield here, replace(price, starts_at=_time(row[0], f"{here}[0]"), usd_per_gpu_hour=_usd(row[1], f"{here}[1]"))


def _owned(entry: Any, place: str) -> float:
    fields = _fields(entry, _OWNED_KEYS, place)
    missing = [key for key in _OWNED_KEYS[:-1] if key not in fields]
    if missing:
        raise PriceBookError(f"{place}.{missing[0]} is missing; expected {', '.join(_OWNED_KEYS)}")
    numbers = {key: _number(value, f"{place}.{key}") for key, value in fields.items()}
    for key, least in (("amortised_months", 1.0), ("pue", 1.0)):
        if numbers[key] < least:
            raise PriceBookError(f"{place}.{key} is {numbers[key]:g}; expected {least:g} or more")
    return _usd(owned_usd_per_gpu_hour(**numbers), place)


def _matches(documents: Any, names: Iterable[str]) -> Iterable[PriceMatch]:
    known = sorted(names)
    for number, entry in enumerate(_list(documents, "matches")):
        place = f"matches[{number}]"
        fields = _fields(entry, _MATCH_KEYS, place)
        match = PriceMatch(**{key: _text(fields, key, place) for key in ("price", *fields)})
        if match.price not in known:
            raise PriceBookError(
                f"{place}.price is {match.price!r}, which names no price; {_nearest(match.price, known)}"
            )
        yield match


def _overheads(documents: Any, prices: Iterable[str]) -> Iterable[Overhead]:
    names = dict.fromkeys(prices, "a price")
    for number, entry in enumerate(_list(documents, "overheads")):
        place = f"overheads[{number}]"
        fields = _fields(entry, _OVERHEAD_KEYS, place)
        given = [key for key in ("usd_per_hour", "usd_per_month") if key in fields]
        if len(given) != 1:
            raise PriceBookError(f"{place} has {' and '.join(given) or 'none'}; expected usd_per_hour or usd_per_month")
        usd = _number(fields[given[0]], f"{place}.{given[0]}")
        times = {key: _time(fields[key], f"{place}.{key}") for key in ("starts_at", "ends_at") if key in fields}
        overhead = Overhead(
            name=_text(fields, "name", place),
            usd_per_hour=usd if given == ["usd_per_hour"] else usd / HOURS_OF_A_MONTH,
            source=_text(fields, "source", place),
            as_of=_as_of(fields, place),
            kind=OverheadKind(_one_of(fields.get("kind", "other"), list(OverheadKind), f"{place}.kind")),
            **times,
        )
        if overhead.ends_at is not None and overhead.ends_at <= overhead.starts_at:
            raise PriceBookError(f"{place}.ends_at is {overhead.ends_at.isoformat()}; expected a time after starts_at")
        if overhead.name in names:
            raise PriceBookError(
                f"{place}.name is {overhead.name!r}, as that of {names[overhead.name]} is; expected another"
            )
        names[overhead.name] = place
        yield overhead


def _mig_slices(value: Any) -> dict[str, float]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise PriceBookError(f"mig_slices is {value!r}; expected shares by profile, as in {{1g.10gb: 0.125}}")
    found = {}
    for profile, share in value.items():
        place = f"mig_slices.{profile}"
        try:
            mig_ratio(str(profile))
        except ValueError as error:
            raise PriceBookError(f"{place}: {error}") from None
        ratio = _number(share, place)
        if not 0 < ratio <= 1:
            raise PriceBookError(f"{place} is {ratio:g}; expected more than 0, at most 1")
        found[str(profile).lower()] = ratio
    return found


def _fields(value: Any, known: Sequence[str], place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PriceBookError(f"{place} is {value!r}; expected a mapping with {', '.join(known)}")
    for key in value:
        if key not in known:
            raise PriceBookError(f"{place}: unknown key {key!r}; {_nearest(str(key), known)}")
    return value


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    valid = f"valid are {', '.join(known)}"
    return f"did you mean {near[0]}? {valid}" if near else valid


def _list(value: Any, place: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise PriceBookError(f"{place} is {value!r}; expected a list")
    return value


def _text(fields: Mapping[str, Any], key: str, place: str) -> str:
    value = fields.get(key)
    if value is None:
        raise PriceBookError(f"{place}.{key} is missing; expected text")
    if not isinstance(value, str) or not value.strip():
        raise PriceBookError(f"{place}.{key} is {value!r}; expected text")
    return value


def _as_of(fields: Mapping[str, Any], place: str) -> str:
    value = fields.get("as_of")
    valid = "expected the day it was read, e.g. 2026-11-09, or `commit HASH` of a catalogue whose date is not known"
    if value is None:
        raise PriceBookError(f"{place}.as_of is missing; {valid}")
    if isinstance(value, date):  # YAML reads an unquoted day as a date
        return value.isoformat()
    if isinstance(value, str):
        if _AS_OF.fullmatch(value):
            return value
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    raise PriceBookError(f"{place}.as_of is {value!r}; {valid}")


def _time(value: Any, place: str) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if isinstance(value, str):
        try:
            return from_rfc3339(value)
        except ValueError as error:
            raise PriceBookError(f"{place}: {error}") from None
    if isinstance(value, date):  # a day, or a time without zone
        raise PriceBookError(f"{place} is {value.isoformat()}, without time zone; expected e.g. 2026-11-23T02:00:00Z")
    raise PriceBookError(f"{place} is {value!r}; expected a time with its zone, e.g. 2026-11-23T02:00:00Z")


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise PriceBookError(f"{place} is {value!r}; expected a finite number, 0 or more")
    return float(value)


def _usd(value: Any, place: str) -> float:
    usd = _number(value, place)
    if usd > _USD_MAX:
        raise PriceBookError(f"{place} is {usd:g}; expected dollars of one GPU for an hour, at most {_USD_MAX:,.0f}")
    return usd


def _one_of(value: Any, valid: Sequence[str], place: str) -> str:
    if value not in valid:
        raise PriceBookError(f"{place} is {value!r}; {_nearest(str(value), [str(one) for one in valid])}")
    return str(value)
