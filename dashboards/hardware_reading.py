"""What the pages of the hardware read, each answer kept for a moment: a refresh of many pages is one question."""

from datetime import datetime

from analytics.hardware import GpuNow, PortNow
from analytics.jobs.hardware import read_gpus_now, read_ports_now
from dashboards.cache import AnswerCache
from dashboards.context import PageContext
from dashboards.freshness import SAMPLES, Gap, hiding
from dashboards.state import FLEET_RANGE, FLEET_RANGES, PageState
from domain.window import Window

_KEPT_S = 20.0


def fleet_window(state: PageState, at: datetime) -> Window:
    """The range that is asked for, as far as the fleet's page offers it, up to a moment."""
    name = state.range_name if state.range_name in FLEET_RANGES else FLEET_RANGE
    return PageState(range_name=name).window(at, FLEET_RANGE)


class HardwareReader:
    """The GPUs and ports of the fleet as they are, or were when they were last seen."""

    def __init__(self, context: PageContext) -> None:
        self._context = context
        self._gpus: AnswerCache[tuple[GpuNow, ...]] = AnswerCache(_KEPT_S)
        self._ports: AnswerCache[tuple[PortNow, ...]] = AnswerCache(_KEPT_S)

    def hidden(self) -> Gap | None:
        """The gap since which no sample is seen; None where they come in."""
        return hiding(self._context.read_unseen(self._context.now()), (SAMPLES,))

    def gpus(self, hidden: Gap | None) -> tuple[GpuNow, ...]:
        """All GPUs, by node and index."""
        return self._gpus.get(hidden and hidden.since, lambda: read_gpus_now(self._context.store, self._at(hidden)))

    def ports(self, state: PageState, hidden: Gap | None) -> tuple[PortNow, ...]:
        """All ports, the worst first, with what they counted in the range of the address."""
        at = self._at(hidden)
        window = fleet_window(state, at)
        return self._ports.get(
            (round(window.seconds), hidden and hidden.since), lambda: read_ports_now(self._context.store, at, window)
        )

    def _at(self, hidden: Gap | None) -> datetime:
        return self._context.now() if hidden is None else hidden.since
