"""How much more this tree takes in than an earlier commit, in the same CPU time.

    python -m benchmarks.against REVISION [--pairs N] [--points N]

Machines differ, and shared ones change by the hour: a figure of last month, or of another machine, says little beside
one of today. So both trees run here, in turns, with the same requests: points of `benchmarks.metrics` and spans of
`benchmarks.ingest`, from the socket to a row that can be queried, merges stopped. Each pair gives one ratio; which tree
goes first alternates. The earlier commit runs with the libraries of this tree.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import ingest, metrics
from benchmarks.server import ROOT, Payload, machine, measure, median


@dataclass(frozen=True, slots=True)
class Pair:
    """Items per CPU-second, of both trees within a minute."""

    earlier: float
    now: float

    @property
    def ratio(self) -> float:
        """This tree to the earlier one."""
        return self.now / self.earlier


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """The files of a commit in a folder of their own.

    Raises:
        subprocess.CalledProcessError: when there is no such commit here.
    """
    with tempfile.TemporaryDirectory(prefix="tailsight-bench-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", tree, revision], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)


def measure_pair(sent: Payload, items: int, tree: Path, *, earlier_first: bool) -> Pair:
    """One run of each tree."""
    rates = {
        each: measure(sent, items, tree=each).items_per_cpu_second
        for each in ((tree, ROOT) if earlier_first else (ROOT, tree))
    }
    return Pair(rates[tree], rates[ROOT])


def report(console: Console, revision: str, found: dict[str, Sequence[Pair]]) -> dict[str, object]:
    """Print what was measured, and on what; the figures."""
    console.print(machine())
    table = Table(title=f"OTLP/HTTP to queryable rows: items per CPU-second, this tree and {revision} in turns")
    for heading in ("what", "pairs", revision, "this tree", "ratio", "lowest", "highest"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for what, pairs in found.items():
        ratios = [pair.ratio for pair in pairs]
        rates = (statistics.median(rates) for rates in zip(*((pair.earlier, pair.now) for pair in pairs), strict=True))
        shown = (statistics.median(ratios), min(ratios), max(ratios))
        table.add_row(what, str(len(pairs)), *(f"{rate:,.0f}" for rate in rates), *(f"{ratio:.2f}" for ratio in shown))
    console.print(table)
    return {
        what: {
            "ratio": median((pair.ratio for pair in pairs), 2),
            "pairs": [[round(pair.earlier), round(pair.now)] for pair in pairs],
        }
        for what, pairs in found.items()
    }


def main() -> None:
    """Measure and print; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="the earlier commit; its benchmarks.server must know these requests")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--points", type=int, default=1_000_000, help="data points of a run")
    arguments = parser.parse_args()
    console = Console()
    found: dict[str, list[Pair]] = {"points": [], "spans": []}
    try:
        with checked_out(arguments.revision) as tree, console.status("building requests") as status:
            points, spans = metrics.payloads(arguments.points, ingest.SPANS_A_RUN)
            for number in range(arguments.pairs):
                status.update(f"pair {number + 1} of {arguments.pairs}")
                for what, sent, items in (("points", points, arguments.points), ("spans", spans, ingest.SPANS_A_RUN)):
                    found[what].append(measure_pair(sent, items, tree, earlier_first=number % 2 == 1))
    except subprocess.CalledProcessError:
        sys.exit(f"git could not check out {arguments.revision}: see above; a shallow clone has no earlier commits")
    print(json.dumps(report(console, arguments.revision, found)))


if __name__ == "__main__":
    main()
