"""The course of one GPU or port as a figure: a band a signal on one time axis, with the incidents of that time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from analytics.signals import SignalMatrix
from dashboards import figures
from dashboards.drawing import TIME_AXIS_PX, Figure, course, escaped, make_figure, plain_axis, time_axis
from domain.entity import EntityKind
from domain.incident import Incident
from domain.quantity import Scale, amounts, scale_of, unit_words
from domain.window import Window

_MAIN = {
    EntityKind.GPU: (
        "engine_active",
        "tensor_active",
        "dram_active",
        "gpu_memory_used",
        "gpu_power",
        "gpu_temperature",
        "memory_temperature",
        "sm_clock",
        "nvlink_throughput",
    ),
    EntityKind.PORT: ("port_utilisation", "transmit_wait"),
}
"""The signals that are drawn whatever they do, in order; the others only where they moved."""
_SAID_BY_OTHERS = ("gpu_process_memory", "gpu_memory_free", "gpu_busy", "sm_active", "gpu_metrics_present")
_BANDS_MOST = 14
_BAND_PX, _TITLE_PX, _GAP_PX = 92, 24, 12
_HEADROOM_RATIO = 0.08


@dataclass(frozen=True, slots=True)
class _Band:
    """One signal of an entity of this kind, and its course in the unit that it is kept in."""

    title: str
    unit: str
    of: EntityKind
    times: pl.Series
    values: pl.Series

    @property
    def scale(self) -> Scale:
        """The unit that it is drawn in."""
        return scale_of(float(self.values.abs().max()), self.unit, self.of)  # type: ignore[arg-type]  # there is one

    @property
    def last(self) -> str:
        """The newest value."""
        return self.told(float(self.values.drop_nulls()[-1]))

    def told(self, value: float) -> str:
        """A value in the unit that suits it."""
        ((number, words),) = amounts(self.unit, value, of=self.of)
        return f"{number} {words}".rstrip()


def device_multiples(
    signals: Sequence[SignalMatrix],
    times: Sequence[datetime],
    kind: EntityKind,
    *,
    window: Window,
    incidents: Sequence[Incident] = (),
) -> Figure:
    """What a GPU or a port told: one band a signal, the time of incidents shaded.

    Args:
        signals: each of the one entity.
        times: of their steps.
        kind: of the entity.
        window: what the x axis shows.
        incidents: those of that time that concern it.
    """
    bands = [_band(one, times) for one in shown_signals(signals, kind)]
    if not bands:
        return figures.empty("It has told nothing in this time", height=120)
    count = len(bands)
    height = _BAND_PX * count + TIME_AXIS_PX
    axes: Figure = {f"yaxis{figures.axis_number(index)}": _axis(band, index, count) for index, band in enumerate(bands)}
    return make_figure(
        [_trace(band, index) for index, band in enumerate(bands)],
        "Course of " + "; ".join(f"{band.title} now {band.last}" for band in bands),
        height=height,
        narrow_margin_right=12,
        margin={"l": 72, "r": 96, "t": 0, "b": TIME_AXIS_PX},
        shapes=[shape for one in incidents for shape in figures.spike_shade(one, window)],
        annotations=[note for index, band in enumerate(bands) for note in _notes(band, index, count)],
        xaxis=time_axis(window) | {"anchor": f"y{figures.axis_number(count - 1)}"},
        hovermode="x unified",
        hoversubplots="axis",
        **axes,
    )


def shown_signals(signals: Sequence[SignalMatrix], kind: EntityKind) -> list[SignalMatrix]:
    """The main signals that have a sample, then those others that moved."""
    told = {one.signal.name: one for one in signals if np.isfinite(one.values).any()}
    main = [name for name in _MAIN[kind] if name in told]
    if "engine_active" not in told and "gpu_busy" in told:
        main.insert(0, "gpu_busy")
    moved = [
        name
        for name, one in told.items()
        if name not in (*main, *_SAID_BY_OTHERS) and np.nanmin(one.values) < np.nanmax(one.values)
    ]
    return [told[name] for name in [*main, *moved][:_BANDS_MOST]]


def _band(one: SignalMatrix, times: Sequence[datetime]) -> _Band:
    values = pl.Series("value", one.values[0], dtype=pl.Float64).fill_nan(None)
    return _Band(one.signal.title, one.signal.unit, one.signal.entity, pl.Series("time", list(times)), values)


def _trace(band: _Band, index: int) -> Figure:
    scale = band.scale
    unit = "%" if scale.unit == "%" else f" {escaped(unit_words(scale.unit))}".rstrip()
    lone = band.values.count() == 1  # a line of one point would not be seen
    return {
        "type": "scatter",
        "mode": "markers" if lone else "lines",
        "name": escaped(band.title),
        **course(band.times, band.values / scale.divisor),
        "yaxis": f"y{figures.axis_number(index)}",
        "line": {"color": "$accent", "width": 1.6},
        "hovertemplate": f"{escaped(band.title)}: %{{y:.4~g}}{unit}<extra></extra>",
    }


def _axis(band: _Band, index: int, count: int) -> Figure:
    divisor = band.scale.divisor
    low, high = _extent(band.values / divisor)
    return plain_axis() | {
        "domain": [1 - (index + 1) / count + _GAP_PX / (_BAND_PX * count), _top(index, count)],
        "range": [low - (high - low) * 0.03, high + (high - low) * _HEADROOM_RATIO],
        "tickvals": [low, high],
        "ticktext": ["0" if edge == 0 else band.told(edge * divisor) for edge in (low, high)],
        "showgrid": False,
        "fixedrange": True,
    }


def _extent(values: pl.Series) -> tuple[float, float]:
    """What an axis spans: from zero where the values come near it, never without height."""
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]  # there is a value
    if 0 <= low <= 0.5 * high:
        low = 0.0
    return (low, high) if high > low else (min(low, 0.0), high or 1.0)


def _notes(band: _Band, index: int, count: int) -> list[Figure]:
    title = {
        "text": f"<b>{escaped(band.title)}</b>",
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": 1 - index / count - 4 / (_BAND_PX * count),
        "xanchor": "left",
        "yanchor": "top",
        "showarrow": False,
        "font": {"size": 12, "color": "$strong"},
    }
    last = title | {"text": f"<b>{escaped(band.last)}</b>", "font": {"size": 12, "color": "$accent"}}
    return [
        title,
        last | {"name": "end", "x": 1, "xshift": 8, "y": _top(index, count)},
        last | {"name": "narrow", "x": 1, "xanchor": "right"},
    ]


def _top(index: int, count: int) -> float:
    """Where the plot of a band begins, below its title."""
    return 1 - index / count - _TITLE_PX / (_BAND_PX * count)
