"""Which incidents go on, as every page tells of it."""

from collections.abc import Sequence
from datetime import datetime

from dashboards.context import PageContext
from dashboards.freshness import REQUESTS, Gap, hiding_end
from domain.incident import Incident, Status
from domain.window import Window
from storage.incidents import read_incidents, read_open_incidents


def read_going_on(
    context: PageContext, unseen: Sequence[Gap], now: datetime, service: str | None = None
) -> list[Incident]:
    """The incidents that are open, and those that count as over only because nothing came in any more.

    Args:
        context: of the pages.
        unseen: what is not seen now.
        now: when it is asked.
        service: whose; None for those of all.
    """
    going_on = read_open_incidents(context.store, now, service)
    silent = [gap.since for gap in unseen if gap.of == REQUESTS]
    if not silent:
        return going_on
    calm = context.analysis.spikes.calm
    lately = read_incidents(context.store, Window(min(silent) - calm, now), service=service, status=Status.RESOLVED)
    return [*going_on, *(one for one in lately if hiding_end(unseen, one, calm) is not None)]
