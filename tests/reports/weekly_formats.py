"""Every format of a document, and documents that are hard on them."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import polars as pl

from analytics.knowledge import shipped_knowledge
from reports.digest import weekly_digest
from reports.html import weekly_html
from reports.markdown import weekly_markdown
from reports.pdf import weekly_pdf
from reports.tables import weekly_tables
from reports.weekly import WeeklyFacts, weekly_document
from tests.reports.weekly_sample import SUNDAY_NIGHT, incidents, sample_facts, slos

EMPTY = weekly_document(
    WeeklyFacts(week="2026-W47", read_at=SUNDAY_NIGHT, slos=(), incidents=(), knowledge=shipped_knowledge())
)
SAMPLE = weekly_document(sample_facts())
NASTY = "=cmd|' /C calc'!A0 <script>alert(1)</script> \"q\" | `x` *b* [l](http://e) \u4e2d\u6587 \U0001f600\n@all"


def formats(document: dict[str, Any]) -> dict[str, bytes]:
    """Each format by its name."""
    tables = {name: text.encode() for name, text in weekly_tables(document).items()}
    return {
        "json": json.dumps(document, allow_nan=False).encode(),
        "html": weekly_html(document).encode(),
        "pdf": weekly_pdf(document),
        "markdown": weekly_markdown(document).encode(),
        "digest": weekly_digest(document).encode(),
        "slack": weekly_digest(document, "slack", "https://tailsight.example.com/reports/2026-W47").encode(),
        **tables,
    }


def digests_of_formats() -> str:
    """A line a format: its name and the SHA-256 of its bytes."""
    made = formats(weekly_document(sample_facts()))
    return "\n".join(f"{name} {hashlib.sha256(text).hexdigest()}" for name, text in made.items())


def hard_document(name: str, models_count: int = 200) -> dict[str, Any]:
    """The sample, where everything that has a name bears this one, with many models, incidents and objectives."""
    facts = sample_facts()
    assert facts.allocation is not None
    assert facts.latency is not None
    models = [f"{name} {number}" for number in range(models_count)]
    return weekly_document(
        replace(
            facts,
            site=name,
            web_url=f"javascript:{name}",
            slos=[
                replace(one, objective=replace(one.objective, name=f"{name}{number}", service=name))
                for number in range(8)
                for one in slos()
            ],
            incidents=[
                replace(one, id=f"{one.id}{number}{name}", service=name) for number in range(9) for one in incidents()
            ],
            incident_notes={
                f"{one.id}{number}{name}": {
                    "acknowledged_at": "2026-11-18T14:11:50Z",
                    "acknowledged_by": name,
                    "notes": [{"at": "2026-11-18T14:11:50Z", "by": name, "text": name * 100}] * 3,
                }
                for number in range(9)
                for one in incidents()
            },
            allocation=facts.allocation.head(4000).with_columns(
                pl.Series("model", [models[number % models_count] for number in range(4000)]),
                pl.lit(name).alias("tenant"),
                pl.lit(name).alias("gpu_model"),
            ),
            latency=facts.latency.with_columns(pl.lit(name).alias("service")).unique("time", maintain_order=True),
            advice=[{"title": name, "saves_usd_per_month_low": 1.0, "why": name}] * 30,
            variance={"parts": [{"name": name, "cost_usd": 12.0}] * 9, "groups": [{"name": name, "why": name}] * 20},
            users=[{"user": name, "tenant": name}] * 30,
            sla=[{"customer": name, "service": name}] * 30,
            method_notes=(name,),
        )
    )
