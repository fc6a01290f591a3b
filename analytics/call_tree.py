"""Which node of a call tree made its target slower, or fail more: an account in which no millisecond is lost.

A target's mean time per request rose by its *excess*. A callee explains as much of a node's excess as its own mean
rose, times the calls that the node made of it; the node itself answers for what its callees leave. From the target
downwards this shares out the whole excess, so the blames of all nodes add up to it. The same account holds for
failures, where the mean is the ratio of failed requests.

Usual time judges every figure: windows as long as the incident give its median and its robust sigma. Only a callee
beyond three sigmas explains anything, and only a node whose own time is beyond three sigmas is a cause.

Known limits: the account is linear, so of calls that run in parallel each explains its full rise until together they
explain all; and a caller that calls more often than usual answers for that itself.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analytics.robust import SIGMA_OF_MAD, median_and_sigma

Floats: TypeAlias = NDArray[np.float64]

SIGMAS_MIN = 3.0  # by chance one window of 740 goes beyond it
EXPLAINED_MIN = 0.5  # a verdict that leaves more in the dark than it explains misleads
_WINDOWS_MIN = 10  # fewer windows of usual time give no median absolute deviation worth the name
_STEPS_MIN = 30  # fewer steps tell nothing about how a caller varies with its callee
_ARROW = " → "  # between the ends of a link, in its name
_MAD_ERROR = 1.17  # relative standard error of such a sigma from n values, times the root of n (efficiency 37 %)
_SIGMAS_MAX = 8.0  # beyond it the tail of a normal distribution is below what floats resolve


@dataclass(frozen=True, slots=True)
class CallGraph:
    """Who calls whom, below and beside the node whose requests became slow.

    Attributes:
        target: the node that users felt.
        calls: pairs (caller, callee). Callers outside the target's tree matter too: they share a callee's requests.
        aliases: a node that only shows how callers see another one, such as its load balancer, to the node it shows.
    """

    target: str
    calls: frozenset[tuple[str, str]]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes, in an order that depends on nothing but their names."""
        return tuple(sorted({self.target, *self.aliases.values(), *(node for call in self.calls for node in call)}))

    @property
    def below(self) -> frozenset[str]:
        """What the target calls, and what that calls: not itself, nor who calls it."""
        callees: dict[str, set[str]] = {}
        for caller, callee in self.calls:
            callees.setdefault(caller, set()).add(self.aliases.get(callee, callee))
        found, ahead = set[str](), [self.target]
        while ahead:
            new = callees.get(ahead.pop(), set()) - found
            found |= new
            ahead += new
        return frozenset(found - {self.target})


@dataclass(frozen=True, slots=True)
class Blame:
    """What one node answers for.

    Attributes:
        node: its name.
        excess: its part of the target's excess, in the unit of the mean (ms, or failures per request).
        share: the same as a part of the whole excess, 0-1.
        sigmas: how unusual its own time per request is, that of its callees taken out.
    """

    node: str
    excess: float
    share: float
    sigmas: float

    @property
    def is_unusual(self) -> bool:
        """Whether its own time is beyond what usual time shows."""
        return self.sigmas > SIGMAS_MIN


@dataclass(frozen=True, slots=True)
class Verdict:
    """The target's excess, shared out.

    Attributes:
        excess: by how much the target's mean rose in the run of steps that is most unusual.
        sigmas: how unusual that run is among the most unusual runs of windows of usual time as long as the incident;
            None when usual time is too short for such windows.
        steps: where the run begins and ends in the incident's steps, end exclusive.
        blames: one for each node that answers for something; unusual nodes first, then by excess.
            Together they make up `excess`.
        witnesses_sigmas: `sigmas` of the target and of the first cause as one figure.
    """

    excess: float
    sigmas: float | None
    steps: tuple[int, int]
    blames: tuple[Blame, ...]
    witnesses_sigmas: float | None

    @property
    def explained(self) -> float:
        """The share of the excess for which unusual nodes answer, 0-1."""
        return sum(blame.share for blame in self.blames if blame.is_unusual)

    @property
    def causes(self) -> tuple[Blame, ...]:
        """The unusual nodes by excess; none when the target is not unusual or less than half is explained."""
        if self.witnesses_sigmas is None or self.witnesses_sigmas <= SIGMAS_MIN or self.explained < EXPLAINED_MIN:
            return ()
        return tuple(blame for blame in self.blames if blame.is_unusual)


class UsualTime:
    """What is usual in a call graph: learnt once, then any number of incidents are held against it."""

    def __init__(self, graph: CallGraph, steps: pl.DataFrame, *, grain: float = 0.0) -> None:
        """Learn from steps of usual time.

        Args:
            graph: who calls whom.
            steps: one row per step and node: `time` (any that sorts), `node`, `requests` (count) and `mean` (time per
                request, or ratio of failed requests). A node without a row had no requests. Steps are equally long.
            grain: by how much one request changes a node's total at least: 1 where failures are counted, 0 where time
                is measured. No window can tell less than one such change.

        Raises:
            ValueError: the target has too little usual time to compare with.
        """
        self._graph = graph
        self._grain = grain
        self._index = {node: position for position, node in enumerate(graph.nodes)}
        self._target = self._index[graph.target]
        self._callers = np.array([self._index[caller] for caller, _ in sorted(graph.calls)], dtype=np.intp)
        self._callees = np.array([self._index[callee] for _, callee in sorted(graph.calls)], dtype=np.intp)
        # Edges x nodes: a product with either adds up, per node, what is known per edge.
        self._by_caller = np.eye(len(self._index))[self._callers]
        self._by_callee = np.eye(len(self._index))[self._callees]
        self._usual = self._matrix(steps)
        if np.count_nonzero(self._usual.requests[:, self._target]) < _WINDOWS_MIN:
            raise ValueError(
                f"{graph.target} has requests in fewer than {_WINDOWS_MIN} steps of usual time: give it a longer past"
            )
        self._waits = self._waited_for()
        self._order = self._downwards()
        self._levels: dict[int, _Levels] = {}

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes of the call graph."""
        return self._graph.nodes

    @property
    def not_waited_for(self) -> frozenset[tuple[str, str]]:
        """Calls (caller, callee) whose time does not reach the caller: it does not wait for the answer."""
        nodes = self._graph.nodes
        edges = zip(self._callers, self._callees, self._waits, strict=True)
        return frozenset((nodes[caller], nodes[callee]) for caller, callee, waits in edges if not waits)

    def blame(self, incident: pl.DataFrame) -> Verdict:
        """Share out the excess of the most unusual run of steps.

        Args:
            incident: steps as those of usual time; a few of them may be usual.

        Raises:
            ValueError: the target has no request in it.
        """
        steps = self._matrix(incident)
        if not steps.requests[:, self._target].any():
            raise ValueError(f"{self._graph.target} has no request in the incident's steps: nothing can have slowed")
        start, end, sigmas = self._most_unusual_run(steps)
        window = steps.slice(start, end).totalled()
        levels = self._level(end - start)
        requests = window.requests[0]
        mean = window.mean[0]
        excess = np.nan_to_num(mean - levels.mean)
        floor = np.where(requests > 0, _ratio(np.full_like(requests, self._grain), requests), math.inf)
        unusual = excess > SIGMAS_MIN * np.maximum(levels.mean_sigma, floor)
        own = self._own(window, levels.mean)[0]
        own_sigmas = np.nan_to_num((own - levels.own) / np.maximum(levels.own_sigma, floor))
        answers_for = self._share_out(requests, excess, unusual)
        total = excess[self._target] * requests[self._target]
        blames = sorted(
            (
                Blame(
                    node=node,
                    excess=float(answers_for[position] / requests[self._target]),
                    share=float(answers_for[position] / total),
                    sigmas=float(own_sigmas[position]),
                )
                for position, node in enumerate(self._graph.nodes)
                if answers_for[position] > 0
            ),
            key=lambda blame: (not blame.is_unusual, -blame.excess, blame.node),
        )
        return Verdict(
            excess=float(excess[self._target]),
            sigmas=sigmas,
            steps=(start, end),
            blames=tuple(blames),
            witnesses_sigmas=self._witnesses(sigmas, blames),
        )

    def _matrix(self, steps: pl.DataFrame) -> "_Steps":
        """Rows to two arrays, steps x nodes; a mean without requests, or requests without a mean, is no sample."""
        times = steps["time"].unique().sort()
        requests = np.zeros((len(times), len(self._index)))
        totals = np.zeros_like(requests)
        known = steps.filter(
            pl.col("node").is_in(list(self._index)),
            pl.col("requests") > 0,
            pl.col("mean").is_not_null() & pl.col("mean").is_not_nan(),
        )
        rows = times.search_sorted(known["time"]).to_numpy()
        columns = np.array([self._index[node] for node in known["node"]], dtype=np.intp)
        requests[rows, columns] = known["requests"].to_numpy()
        totals[rows, columns] = (known["requests"] * known["mean"]).to_numpy()
        return _Steps(requests, totals)

    def _calls(self, requests: Floats) -> Floats:
        """Calls along each edge: a callee's requests, shared among its callers as theirs are; ... x edges."""
        by_callee = requests[..., self._callers] @ self._by_callee
        return requests[..., self._callees] * _ratio(requests[..., self._callers], by_callee[..., self._callees])

    def _own(self, windows: "_Steps", usual_mean: Floats) -> Floats:
        """Time per request of each node without that of the callees it waits for; windows x nodes.

        A callee without a past is news of its caller's making: its time stays the caller's own.
        """
        counts = self._waits & np.isfinite(usual_mean[self._callees])
        spent = np.where(counts, self._calls(windows.requests), 0.0) * np.nan_to_num(windows.mean[:, self._callees])
        return windows.mean - _ratio(spent @ self._by_caller, windows.requests)

    def _waited_for(self) -> NDArray[np.bool_]:
        """Whether a caller's time follows its callee's, for each edge; true unless usual time shows that it does not.

        A caller that waits varies at least as its callee does, and with it. Where the callee's time per request of the
        caller clearly varies more, and the caller follows less than half of that, it does not wait. Only steps in which
        nobody else called the callee tell: otherwise its mean is not what this caller saw.
        """
        requests, mean = self._usual.requests, self._usual.mean
        by_callee = requests[:, self._callers] @ self._by_callee
        calls = self._calls(requests)
        waits = np.ones(len(self._callers), dtype=np.bool_)
        for edge, (caller, callee) in enumerate(zip(self._callers, self._callees, strict=True)):
            alone = (
                (by_callee[:, callee] == requests[:, caller]) & (requests[:, caller] > 0) & (requests[:, callee] > 0)
            )
            count = int(np.count_nonzero(alone))
            if count < _STEPS_MIN:
                continue
            callee_time, callee_sigma = _without_outliers(
                calls[alone, edge] * mean[alone, callee] / requests[alone, caller]
            )
            caller_time, caller_sigma = _without_outliers(mean[alone, caller])
            if callee_sigma <= caller_sigma * (1.0 + SIGMAS_MIN * math.sqrt(2.0) * _MAD_ERROR / math.sqrt(count)):
                continue
            variation = float(callee_time @ callee_time)
            slope = float(callee_time @ caller_time) / variation
            error = math.sqrt(float(np.mean((caller_time - slope * callee_time) ** 2)) / variation)
            waits[edge] = slope + SIGMAS_MIN * error >= 0.5
        return waits

    def _downwards(self) -> list[tuple[int, list[tuple[int, int]]]]:
        """The target's tree from the top: each node with its waited-for edges (edge, node that then answers).

        An edge back to a node above, in a cycle, is left out: what it would explain stays with the caller.
        """
        service_of = {self._index[alias]: self._index[node] for alias, node in self._graph.aliases.items()
                      if alias in self._index}  # fmt: skip
        below: dict[int, list[tuple[int, int]]] = {}
        for edge, (caller, callee) in enumerate(zip(self._callers.tolist(), self._callees.tolist(), strict=True)):
            if self._waits[edge]:
                below.setdefault(caller, []).append((edge, service_of.get(callee, callee)))
        finished: list[int] = []
        seen = {self._target}
        path = [(self._target, iter(below.get(self._target, [])))]
        while path:
            node, edges = path[-1]
            following = next((callee for _, callee in edges if callee not in seen), None)
            if following is None:
                finished.append(node)
                path.pop()
            else:
                seen.add(following)
                path.append((following, iter(below.get(following, []))))
        rank = {node: position for position, node in enumerate(reversed(finished))}
        return [(node, [(edge, to) for edge, to in below.get(node, []) if rank[to] > rank[node]]) for node in rank]

    def _share_out(self, requests: Floats, excess: Floats, unusual: NDArray[np.bool_]) -> Floats:
        """What each node answers for itself, of the target's excess in total."""
        calls = self._calls(requests)
        owed = np.zeros(len(requests))
        owed[self._target] = max(0.0, excess[self._target] * requests[self._target])
        for node, edges in self._order:
            claims = [(callee, excess[self._callees[edge]] * calls[edge]) for edge, callee in edges
                      if unusual[self._callees[edge]]]  # fmt: skip
            claimed = sum(claim for _, claim in claims)
            if not owed[node] or not claimed:
                continue
            rose = max(claimed, excess[node] * requests[node])
            for callee, claim in claims:
                owed[callee] += owed[node] * claim / rose
            owed[node] *= 1.0 - claimed / rose
        return owed

    def _level(self, length: int) -> "_Levels":
        """The usual level and sigma of windows of so many steps."""
        if length not in self._levels:
            windows = self._usual.windows(length)
            mean, mean_sigma = _robust(windows.mean)
            self._levels[length] = _Levels(mean, mean_sigma, *_robust(self._own(windows, mean)))
        return self._levels[length]

    def _most_unusual_run(self, steps: "_Steps") -> tuple[int, int, float | None]:
        """Start, end and sigmas of the run of steps in which the target is most unusual.

        The best of many runs is unusual by choice, so it is held against the best runs of windows as long as `steps`.
        Their spread is never less than the one sigma of a run that nobody chose.
        """
        length = len(steps.requests)
        found = (-math.inf, 0, length)
        usual_best: Floats = np.full(max(0, len(self._usual.requests) - length + 1), -math.inf)
        for run in range(1, length + 1):
            sigmas, usual_sigmas = self._target_sigmas(steps, run), self._target_sigmas(self._usual, run)
            start = int(np.argmax(sigmas))
            if sigmas[start] > found[0]:
                found = (float(sigmas[start]), start, start + run)
            for offset in range(length - run + 1):
                usual_best = np.maximum(usual_best, usual_sigmas[offset : offset + len(usual_best)])
        best, start, end = found
        level, sigma = _robust(usual_best[np.isfinite(usual_best), np.newaxis])
        return start, end, None if math.isnan(level[0]) else (best - float(level[0])) / max(float(sigma[0]), 1.0)

    def _target_sigmas(self, steps: "_Steps", run: int) -> Floats:
        """How far the target's mean is above its usual one in each run of so many steps; -infinity if unknown."""
        windows, level = steps.windows(run), self._level(run)
        requests = windows.requests[:, self._target]
        sigma = np.maximum(level.mean_sigma[self._target], _ratio(np.full_like(requests, self._grain), requests))
        sigmas: Floats = np.nan_to_num(
            (windows.mean[:, self._target] - level.mean[self._target]) / sigma, nan=-math.inf
        )
        return sigmas

    def _witnesses(self, target_sigmas: float | None, blames: Sequence[Blame]) -> float | None:
        """The sigmas of the target and of its first cause as one figure (Stouffer's method), if that is the greater.

        The cause was chosen among all nodes, so its sigmas are first lowered to what is left after so many looks
        (Bonferroni). A target that is its own cause is one witness, not two; one that did not rise is none.
        """
        if (
            target_sigmas is None
            or target_sigmas <= 0
            or not blames
            or not blames[0].is_unusual
            or blames[0].node == self._graph.target
        ):
            return target_sigmas
        normal = NormalDist()
        by_chance = len(self._order) * normal.cdf(-min(blames[0].sigmas, _SIGMAS_MAX))
        cause_sigmas = -normal.inv_cdf(min(by_chance, 0.5))
        return max(target_sigmas, (target_sigmas + cause_sigmas) / math.sqrt(2.0))


@dataclass(frozen=True, slots=True)
class _Steps:
    """Requests, and their time in total; steps (or windows) x nodes."""

    requests: Floats
    totals: Floats

    @property
    def mean(self) -> Floats:
        """Time per request; NaN without requests."""
        return np.where(self.requests > 0, _ratio(self.totals, self.requests), math.nan)

    def slice(self, start: int, end: int) -> "_Steps":
        return _Steps(self.requests[start:end], self.totals[start:end])

    def totalled(self) -> "_Steps":
        return self.windows(len(self.requests))

    def windows(self, length: int) -> "_Steps":
        """All windows of so many steps, overlapping."""
        return _Steps(_moving_sum(self.requests, length), _moving_sum(self.totals, length))


@dataclass(frozen=True, slots=True)
class _Levels:
    """Median and robust sigma of each node in windows of usual time; NaN for a node without a past."""

    mean: Floats
    mean_sigma: Floats
    own: Floats
    own_sigma: Floats


def _moving_sum(values: Floats, length: int) -> Floats:
    sums = np.cumsum(np.vstack([np.zeros((1, values.shape[1])), values]), axis=0)
    moving: Floats = sums[length:] - sums[:-length]
    return moving


def _ratio(above: Floats, below: Floats) -> Floats:
    """`above / below`, and 0 where `below` is 0."""
    out: Floats = np.zeros(np.broadcast(above, below).shape)
    np.divide(above, below, out=out, where=below > 0)
    return out


def _robust(windows: Floats) -> tuple[Floats, Floats]:
    """Median and robust sigma of each column, over the windows that have a value.

    NaN and infinity for a column with too few of them: nothing there can be called unusual.
    """
    known = np.count_nonzero(~np.isnan(windows), axis=0) >= _WINDOWS_MIN
    median = np.full(windows.shape[1], math.nan)
    sigma = np.full(windows.shape[1], math.inf)
    median[known] = np.nanmedian(windows[:, known], axis=0)
    sigma[known] = SIGMA_OF_MAD * np.nanmedian(np.abs(windows[:, known] - median[known]), axis=0)
    # A series that never moved is known as exactly as a float can be, not better.
    sigma[known] = np.maximum(sigma[known], 1e-9 * np.abs(median[known]) + 1e-12)
    return median, sigma


def _without_outliers(values: Floats) -> tuple[Floats, float]:
    """Deviations from the median, cut at three robust sigmas, and that sigma."""
    median, sigma = median_and_sigma(values)
    return np.clip(values - median, -SIGMAS_MIN * sigma, SIGMAS_MIN * sigma), sigma


def link_name(caller: str, callee: str) -> str:
    """The name that `calls_of_spans` and `steps_of_spans` give to the link between two nodes."""
    return caller + _ARROW + callee


def link_ends(name: str) -> tuple[str, str] | None:
    """Caller and callee of a link; None for a node."""
    caller, arrow, callee = name.partition(_ARROW)
    return (caller, callee) if arrow else None


def without_links(excess: Mapping[str, float], links: Collection[str]) -> dict[str, float]:
    """Hand what links answer for to the nodes at fault for it.

    In a matrix of callers and callees, a row or column of slow links says that it is the node, a single cell that it
    is the link. So a link's part goes to the end with the greater part of its links slow, or else with more of them
    slow; to each end half when the ends are even.

    Args:
        excess: what each unusual node and link answers for.
        links: all links that carried requests, slow or not.

    Returns:
        The same in total, by node.
    """
    links_of: dict[str, list[str]] = {}
    for link in links:
        for end in link_ends(link) or ():
            links_of.setdefault(end, []).append(link)
    slow = {end: sum(excess.get(link, 0.0) > 0 for link in ends) for end, ends in links_of.items()}
    answers_for: dict[str, float] = {}
    for name, part in excess.items():
        ends = link_ends(name) or (name,)
        faults = [(slow[end] / len(links_of[end]), slow[end]) if end in slow else (0.0, 0) for end in ends]
        at_fault = [end for end, fault in zip(ends, faults, strict=True) if fault == max(faults)]
        for end in at_fault:
            answers_for[end] = answers_for.get(end, 0.0) + part / len(at_fault)
    return answers_for


def calls_of_spans(spans: pl.DataFrame, target: str) -> CallGraph:
    """Who called whom in these traces: nodes, and between two nodes their link where client spans show it.

    Args:
        spans: columns as `steps_of_spans` takes them.
        target: the node whose requests became slow.
    """
    entries = _entries(spans)
    direct = entries.filter(pl.col("caller").is_not_null() & pl.col("link").is_null())
    linked = entries.filter(pl.col("link").is_not_null())
    return CallGraph(
        target,
        frozenset(
            [
                *direct.select("caller", "node").unique().iter_rows(),
                *linked.select("caller", "link").unique().iter_rows(),
                *linked.select("link", "node").unique().iter_rows(),
            ]
        ),
    )


def steps_of_spans(spans: pl.DataFrame, step_ms: float) -> pl.DataFrame:
    """The mean time and requests of each node and link in each step, for `UsualTime`.

    A node's request is a span that another node, or nobody, called. A link takes from the client's span to its end, so
    what its node leaves of that (the gap between client and server) is the link's own.

    Args:
        spans: `trace`, `span`, `parent` (null for a root), `node`, `start_ms`, `duration_ms`.
        step_ms: how long a step is.

    Returns:
        Columns `time` (the step's start in ms), `node`, `requests`, `mean` (ms).
    """
    entries = _entries(spans).with_columns(time=(pl.col("start_ms") / step_ms).floor() * step_ms)
    links = entries.filter(pl.col("link").is_not_null()).select("time", node="link", duration_ms="client_ms")
    return (
        pl.concat([entries.select("time", "node", "duration_ms"), links])
        .group_by("time", "node", maintain_order=True)
        .agg(requests=pl.len().cast(pl.Float64), mean=pl.col("duration_ms").mean())
    )


def _entries(spans: pl.DataFrame) -> pl.DataFrame:
    """Spans at which a request enters a node; with the caller, and the link when the caller has a span of this call.

    A parent is a span of this call when it is no entry itself and has no other child: then its time beyond the
    entry's is spent between the two nodes.
    """
    children = spans.group_by("trace", parent="parent").agg(children=pl.len())
    parents = spans.join(children, left_on=["trace", "span"], right_on=["trace", "parent"]).select(
        "trace",
        parent="span",
        caller="node",
        client_ms="duration_ms",
        grandparent="parent",
        children="children",
    )
    above = spans.select("trace", grandparent="span", grandcaller="node")
    known = spans.join(parents, on=["trace", "parent"], how="left").join(above, on=["trace", "grandparent"], how="left")
    is_client = (pl.col("grandcaller") == pl.col("caller")) & (pl.col("children") == 1)
    return known.filter(pl.col("caller").is_null() | (pl.col("caller") != pl.col("node"))).with_columns(
        link=pl.when(is_client).then(pl.col("caller") + _ARROW + pl.col("node"))
    )
