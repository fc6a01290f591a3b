"""What runs at the same time: stretches of time cut into cells, within which the same ones run."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


class Cells:
    """Time of one replica, cut wherever a request's prefill or decode stage begins or ends.

    Attributes:
        begun, first, ended: the edges at which each request's prefill begins, its first token is there, and it ends:
            (requests,).
        edges_ms: where cells begin and end: (cells + 1,).
        lengths_ms, middles_ms: of each cell: (cells,).
    """

    def __init__(self, begun_ms: Floats, first_ms: Floats, ended_ms: Floats) -> None:
        edges = np.unique(np.concatenate([begun_ms, first_ms, ended_ms]))
        self.begun, self.first, self.ended = (
            np.searchsorted(edges, moments) for moments in (begun_ms, first_ms, ended_ms)
        )
        self.lengths_ms = np.diff(edges)
        self.middles_ms = edges[:-1] + self.lengths_ms / 2
        self.edges_ms = edges

    def prefilling(self, weights: Floats) -> Floats:
        """The sum of weights (requests,) over those whose prompt is computed in each cell."""
        return self._counted(self.begun, self.first, weights)

    def decoding(self, weights: Floats) -> Floats:
        """The sum of weights (requests,) over those that decode in each cell."""
        return self._counted(self.first, self.ended, weights)

    def _counted(self, begins: Places, ends: Places, weights: Floats) -> Floats:
        size = len(self.edges_ms)
        changes = np.bincount(begins, weights, size) - np.bincount(ends, weights, size)
        return np.cumsum(changes)[:-1]

    def at(self, moments_ms: Floats, values: Floats) -> Floats:
        """The cells' values at these moments; 0 before the first cell and after the last."""
        places = np.searchsorted(self.edges_ms, moments_ms, side="right") - 1
        inside = (places >= 0) & (places < len(values))
        found: Floats = np.zeros(len(moments_ms))
        found[inside] = values[places[inside]]
        return found


def total(values: Floats, begins: Places, ends: Places) -> Floats:
    """The sum of the cells' values from one edge to another: (requests,)."""
    until = np.concatenate([[0.0], np.cumsum(values)])
    summed: Floats = until[ends] - until[begins]
    return summed


def mean(values: Floats, weights: Floats, begins: Places, ends: Places) -> Floats:
    """The weighted mean of the cells' values from one edge to another: (requests,); 1 where nothing weighs."""
    whole = total(weights, begins, ends)
    return np.divide(total(values * weights, begins, ends), whole, out=np.ones_like(whole), where=whole > 0)
