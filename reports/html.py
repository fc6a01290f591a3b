"""The weekly report as one HTML page: nothing is loaded from anywhere, no script, prints on A4."""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from reports import charts
from reports.charts import Picture
from reports.sections.blocks import Block, Bullets, Column, Paragraph, Table
from reports.sections.incidents import web_address
from reports.sections.report import layout

_HERE = Path(__file__).parent
_FONT = _HERE / "fonts" / "inter-latin.woff2"
_KINDS: dict[type[Block], str] = {Table: "table", Paragraph: "paragraph", Bullets: "bullets", Picture: "picture"}


def weekly_html(document: Mapping[str, Any]) -> str:
    """The report as a whole page.

    Args:
        document: of `reports.weekly.weekly_document`.
    """
    laid_out = layout(document)
    return _template().render(
        layout=laid_out,
        title=f"{laid_out.title}, {document['week']}",
        footer_css=Markup(_css_string(laid_out.footer)),  # noqa: S704 - escaped there
        font=_font(),
        web_url=web_address(document),
        kind=lambda block: _KINDS[type(block)],
        svg=lambda picture: Markup(charts.svg(picture)),  # noqa: S704 - escaped there
        widths=_widths,
        bar_percent=lambda ratio: f"{max(0.0, min(1.0, ratio)) * 100:.1f}",
    )


def _css_string(text: str) -> str:
    """A string of CSS that cannot end the string, nor the style element around it."""
    return '"' + "".join(one if one.isalnum() or one in " ,.-" else f"\\{ord(one):x} " for one in text) + '"'


def _widths(columns: Sequence[Column]) -> list[str]:
    whole = sum(column.weight for column in columns)
    return [f"{column.weight / whole * 100:.2f}" for column in columns]


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template("weekly.html")


@cache
def _font() -> str:
    return base64.b64encode(_FONT.read_bytes()).decode()
