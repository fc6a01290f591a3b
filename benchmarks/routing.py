"""Random routing trees and label sets: do they reach the receivers that the real amtool says.

    python -m benchmarks.routing [--trees N] [--label-sets N] [--seed N]

Needs `amtool` (Debian: prometheus-alertmanager). Each tree is a file; `amtool config routes test` is asked for each
label set, `--jobs` at a time.
"""

import argparse
import itertools
import json
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import track

from alerts.routing import parse_route
from benchmarks.server import machine

NAMES, VALUES = ("team", "severity", "cluster"), ("a", "b", "ab", "")
EXPRESSIONS = ("a|b", ".+", "[^a]*", "a.*", "")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One label set that we send elsewhere than amtool does."""

    tree: str
    labels: dict[str, str]
    ours: str
    theirs: str


def random_config(randomness: random.Random) -> dict[str, Any]:
    """A configuration whose tree is three deep, with every operator, and `continue` in places."""
    receivers = itertools.count()
    routes = [_node(randomness, 2, receivers) for _ in range(randomness.randint(1, 4))]
    names = ["root", *(f"r{number}" for number in range(next(receivers)))]
    return {"route": {"receiver": "root", "routes": routes}, "receivers": [{"name": name} for name in names]}


def _node(randomness: random.Random, depth: int, receivers: Iterator[int]) -> dict[str, Any]:
    matchers = []
    for name in randomness.sample(NAMES, randomness.randint(1, 2)):
        operator = randomness.choice(("=", "!=", "=~", "!~"))
        matchers.append(f'{name}{operator}"{randomness.choice(EXPRESSIONS if "~" in operator else VALUES)}"')
    node: dict[str, Any] = {"matchers": matchers, "continue": randomness.random() < 0.4}
    if randomness.random() < 0.7:
        node["receiver"] = f"r{next(receivers)}"
    if depth:
        node["routes"] = [_node(randomness, depth - 1, receivers) for _ in range(randomness.randint(0, 3))]
    return node


def _label_sets(randomness: random.Random, count: int) -> list[dict[str, str]]:
    return [{name: value for name in NAMES if (value := randomness.choice(VALUES))} for _ in range(count)]


def _amtool(file: Path, labels: dict[str, str]) -> str:
    pairs = [f"{name}={value}" for name, value in labels.items()]
    done = subprocess.run(
        [shutil.which("amtool") or "amtool", "config", "routes", "test", f"--config.file={file}", *pairs],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def disagreements(trees: int, label_sets_each: int, seed: int, folder: Path, jobs: int = 2) -> list[Disagreement]:
    """Every label set that the two send to different receivers.

    Args:
        trees: how many trees.
        label_sets_each: how many label sets for each.
        seed: what they follow from.
        folder: where the trees are written.
        jobs: how many amtool run at a time.
    """
    found = []
    with ThreadPoolExecutor(jobs) as pool:
        for number in track(range(trees), "trees", console=Console(stderr=True), transient=True):
            randomness = random.Random(f"{seed}-{number}")
            config = random_config(randomness)
            file = folder / f"tree-{number}.yml"
            file.write_text(yaml.safe_dump(config))
            route = parse_route(config["route"])
            sets = _label_sets(randomness, label_sets_each)
            for labels, theirs in zip(sets, pool.map(lambda one, file=file: _amtool(file, one), sets), strict=True):
                ours = ",".join(reached.options.receiver for reached in route.match(labels))
                if ours != theirs:
                    found.append(Disagreement(file.name, labels, ours, theirs))
    return found


def main() -> None:
    """Ask, print what differs; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--label-sets", type=int, default=20, help="for each tree")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        found = disagreements(given.trees, given.label_sets, given.seed, Path(folder), given.jobs)
    for one in found[:20]:
        print(one)
    cases = given.trees * given.label_sets
    print(json.dumps({"routing_cases": cases, "routing_disagreements": len(found)}))


if __name__ == "__main__":
    main()
