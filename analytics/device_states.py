"""What the states of GPUs and of fabric ports have in common: a state holds or not, for each device, at each step.

Several states may hold at once; they are ordered by how bad they are, and the worst is told first. NaN is "no sample"
everywhere: it is carried on or leaves a question open, and is never read as 0.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from analytics.samples import Matrix

Held: TypeAlias = NDArray[np.bool_]
"""(devices, steps): does it hold."""
Told: TypeAlias = tuple[str, Mapping[str, float]]
"""Why a state holds, in words, and the numbers that this rests on; NaN where one is not known."""

DeviceT = TypeVar("DeviceT")
StateT = TypeVar("StateT", bound=StrEnum)
ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclass(frozen=True, slots=True)
class DeviceSamples(Generic[DeviceT]):
    """What devices told over time.

    Attributes:
        devices: one a row.
        values: by the name of what was measured: (devices, steps), NaN where there was no sample.
        step_s: seconds a step; one step is one scrape, so that a step without a sample is a scrape that was missed.
    """

    devices: tuple[DeviceT, ...]
    values: Mapping[str, Matrix]
    step_s: int

    def __post_init__(self) -> None:
        """Raises ValueError when a matrix has another shape than the devices and the other matrices."""
        shapes = {matrix.shape for matrix in self.values.values()}
        if len(shapes) != 1 or next(iter(shapes))[0] != len(self.devices) or not self.devices:
            raise ValueError(
                f"matrices of {sorted(shapes)} for {len(self.devices)} devices; expected one (devices, steps)"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Devices, steps."""
        return len(self.devices), next(iter(self.values.values())).shape[1]


@dataclass(frozen=True, slots=True)
class Finding(Generic[StateT]):
    """A state that holds: why in words, and the numbers that this rests on, by name with the unit last."""

    state: StateT
    reason: str
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DeviceFindings(Generic[DeviceT, StateT]):
    """A device and the states it is in at one moment, worst first; there is always one."""

    device: DeviceT
    findings: tuple[Finding[StateT], ...]

    @property
    def worst(self) -> Finding[StateT]:
        """The state to tell first."""
        return self.findings[0]


@dataclass(frozen=True, slots=True)
class StateMatrix(Generic[StateT]):
    """Which states hold for which device at which step.

    Attributes:
        states: worst first.
        held: (states, devices, steps). At every step at least one state of every device holds.
    """

    states: tuple[StateT, ...]
    held: NDArray[np.bool_]

    def holds(self, state: StateT) -> Held:
        """Where one state holds: (devices, steps)."""
        found: Held = self.held[self.states.index(state)]
        return found

    def at(self, row: int, step: int) -> tuple[StateT, ...]:
        """The states of one device at one step, worst first."""
        return tuple(self.states[place] for place in np.flatnonzero(self.held[:, row, step]))

    def worst(self) -> NDArray[np.intp]:
        """The place in `states` of the worst that holds: (devices, steps)."""
        place: NDArray[np.intp] = np.argmax(self.held, axis=0)
        return place


def stack(states: Sequence[StateT], found: Mapping[StateT, Held]) -> StateMatrix[StateT]:
    """The states, worst first, and where each holds, as one matrix; one that is not in `found` holds nowhere."""
    shape = next(iter(found.values())).shape
    nowhere = np.zeros(shape, dtype=np.bool_)
    return StateMatrix(tuple(states), np.stack([found.get(state, nowhere) for state in states]))


def findings_at(
    devices: Sequence[DeviceT],
    matrix: StateMatrix[StateT],
    step: int,
    tell: Callable[[StateT, int, int], Told],
) -> tuple[DeviceFindings[DeviceT, StateT], ...]:
    """The states of each device at one step, with the reason and those of its numbers that are known.

    Args:
        devices: one a row of the matrix.
        matrix: which states hold.
        step: counted from the end where it is negative.
        tell: why a state holds for the device of a row at a step.

    Raises:
        IndexError: when there is no such step.
    """
    place = range(matrix.held.shape[2])[step]

    def finding(state: StateT, row: int) -> Finding[StateT]:
        reason, numbers = tell(state, row, place)
        known = {name: float(number) for name, number in numbers.items() if math.isfinite(number)}
        return Finding(state, reason, known)

    return tuple(
        DeviceFindings(device, tuple(finding(state, row) for state in matrix.at(row, place)))
        for row, device in enumerate(devices)
    )


def within(events: Held, steps_count: int) -> Held:
    """Was there an event at this step, or at one of the `steps_count` steps before it."""
    return sums_within(events.astype(np.float64), steps_count) > 0


def sums_within(amounts: Matrix, steps_count: int) -> Matrix:
    """The sum of this step and the `steps_count` steps before it; what is unknown adds nothing."""
    total = np.cumsum(np.nan_to_num(amounts), axis=1)
    earlier = np.zeros_like(total)
    if steps_count + 1 < total.shape[1]:
        earlier[:, steps_count + 1 :] = total[:, : -steps_count - 1]
    return total - earlier


def highest_so_far(values: Matrix) -> Matrix:
    """The greatest sample up to each step, NaN before the first."""
    return np.fmax.accumulate(values, axis=1)


def peers_have(values: Matrix, groups: Sequence[object], owners: Sequence[object], peers_min: int) -> Matrix:
    """What three quarters of a device's peers have, or more, at each step; NaN where too few have a value.

    Not the median: where half of a group is by design less than the other half, the lesser half is not ill.

    Args:
        values: (devices, steps).
        groups: what each device is compared within.
        owners: rows with the same owner are one device (instances of a GPU), which is no peer of itself.
        peers_min: how many rows of other owners must have a value.
    """
    found = np.full(values.shape, np.nan)
    rows_of: dict[object, dict[object, list[int]]] = {}
    for row, (group, owner) in enumerate(zip(groups, owners, strict=True)):
        rows_of.setdefault(group, {}).setdefault(owner, []).append(row)
    for rows_of_owner in rows_of.values():
        if len(rows_of_owner) <= peers_min:
            continue
        level = _others_have(values[[rows[0] for rows in rows_of_owner.values()]], peers_min)
        for place, rows in enumerate(rows_of_owner.values()):
            found[rows] = level[place]
    return found


def _others_have(values: Matrix, others_min: int) -> Matrix:
    """For each row the value at a quarter of the way up through the other rows, from sorting all of them once."""
    ordered = np.sort(values, axis=0)  # NaN goes to the end
    others_count = np.isfinite(values).sum(axis=0) - np.isfinite(values)
    place = np.maximum(others_count - 1, 0) // 4
    at_place, next_to_it = (
        np.take_along_axis(ordered, np.minimum(place + more, len(values) - 1), axis=0) for more in (0, 1)
    )
    own_is_before = at_place >= values  # not so for NaN, which is not among them
    return np.where(others_count >= others_min, np.where(own_is_before, next_to_it, at_place), np.nan)


class Evidence(Generic[DeviceT]):
    """What states rest on, all of it (devices, steps).

    Matrices that were worked out are kept by name: the reasons of many devices rest on the same ones.
    """

    def __init__(self, samples: DeviceSamples[DeviceT], values: Mapping[str, Matrix]) -> None:
        """Of samples, with their values as far as they can be true."""
        self.devices = samples.devices
        self.step_s = samples.step_s
        self.shape = samples.shape
        self.values = values
        self.nothing: Matrix = np.full(self.shape, np.nan)
        self.reports: Held = np.logical_or.reduce([np.isfinite(matrix) for matrix in values.values()])
        self._worked_out: dict[str, NDArray[Any]] = {}

    def once(self, name: str, work_out: Callable[[], NDArray[ScalarT]]) -> NDArray[ScalarT]:
        """The matrix of this name, worked out at the first call."""
        if name not in self._worked_out:
            self._worked_out[name] = work_out()
        return self._worked_out[name]

    def of(self, *names: str) -> Matrix:
        """The first of these that has a sample, at each step; NaN where none has."""
        there = [self.values[name] for name in names if name in self.values]
        found = there[0] if there else self.nothing
        for matrix in there[1:]:
            found = np.where(np.isfinite(found), found, matrix)
        return found
