"""Why the bill changed, and where it goes."""

from reports import charts, words
from reports.sections.blocks import (
    Block,
    Cell,
    Column,
    Document,
    Paragraph,
    Section,
    pictures_of,
    table_of,
    unknown_tone,
)


def outlook_section(document: Document) -> Section:
    """Variance and forecast."""
    cost = document["cost"]
    return Section(
        "outlook",
        "Why the bill changed, and where it goes",
        (
            *_variance(document["variance"], cost),
            *_forecast(document["forecast"], document),
        ),
    )


def _variance(variance: Document | None, cost: Document | None) -> list[Block]:
    if variance is None or cost is None:
        return [Paragraph("Why the bill changed is not known: there is nothing to compare with.", "muted")]
    # A report that was kept before hours were counted compares whole weeks.
    before_usd = variance.get("before_usd", cost["cost_before_usd"])
    after_usd = variance.get("after_usd", cost["cost_usd"])
    known, hours = variance.get("known_hours"), variance.get("hours")
    parts = variance.get("parts") or []
    picture = None if before_usd is None else charts.variance_waterfall(before_usd, after_usd, parts)
    partly = f"Compared are the {known} of {hours} hours that are known in both weeks."
    groups = variance.get("groups") or []
    columns = (Column("Where", 34), Column("Change", 16, is_number=True), Column("Why", 50))
    rows = [
        (
            Cell(str(group.get("name")), is_strong=True),
            Cell(words.money_change(group.get("cost_usd")), unknown_tone(group.get("cost_usd"))),
            Cell(str(group.get("why") or "")),
        )
        for group in groups
    ]
    return [
        *pictures_of(picture),
        *([Paragraph(partly, "muted")] if known != hours else []),
        *([table_of("Largest changes", columns, rows, 6, "groups")] if rows else []),
    ]


def _forecast(forecast: Document | None, document: Document) -> list[Block]:
    if forecast is None:
        return [Paragraph("A forecast is not configured, or there are too few days to make one.", "muted")]
    cost = document["cost"]
    days = [] if cost is None else [*cost["days_before"], *cost["days"]]
    picture = charts.forecast_fan(days, forecast.get("horizon") or [], document["time_zone"])
    month = forecast.get("month_end") or {}
    told = []
    if month.get("median_usd") is not None:
        between = (
            ""
            if month.get("lower_usd") is None or month.get("upper_usd") is None
            else f" ({words.money_range(month['lower_usd'], month['upper_usd'])})"
        )
        told.append(f"The month is heading for {words.money(month['median_usd'])}{between}.")
        if month.get("budget_usd") is not None:
            over = month["median_usd"] - month["budget_usd"]
            way = "over" if over > 0 else "under"
            told.append(f"That is {words.money(abs(over))} {way} the budget of {words.money(month['budget_usd'])}.")
    if forecast.get("mase") is not None:
        better = forecast["mase"] < 1
        told.append(
            f"Model: {forecast.get('model')}; its error in the backtest is {forecast['mase']:.2f} of that of repeating "
            f"last week ({'better' if better else 'no better'})."
        )
    return [*([Paragraph(" ".join(told))] if told else []), *pictures_of(picture)]
