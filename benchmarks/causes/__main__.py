"""How often the true cause is named first: every set we have, in one run.

    make bench-causes [BENCH_ARGS="--quick --out docs/benchmarks/causes.md"]

Seeded incidents of our own simulator (`seeded`), incidents of another make (`outside`), two public sets of labelled
incidents (`petshop`, `nezha`), real A100 nodes (`gwdg`) and recorded devices (`devices`). Sets and recordings are read
from ../shared/data; without them their part is left out, and said so. Each part runs alone as well:
`python -m benchmarks.causes.PART`. The last line is one JSON object.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks.causes import devices, gwdg, nezha, outside, petshop, scoring, seeded
from benchmarks.server import machine

FULL = {"one": 30, "confused": 10, "two": 20, "removed": 3, "clean": 60}
QUICK = {"one": 2, "confused": 1, "two": 5, "removed": 1, "clean": 2}
OUTSIDE_SEEDS, OUTSIDE_SEEDS_QUICK = 3, 1


def main() -> None:
    """Run all parts, print their tables, keep them in a file if asked to, end with the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer seeds: some ten minutes on two cores")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--misses", action="store_true", help="a line for each incident that was not answered right")
    parser.add_argument("--stores", type=Path, help="keep what is played there, and look at it again next time")
    parser.add_argument("--out", type=Path, help="a Markdown file to keep the tables in")
    given = parser.parse_args()
    console = Console(width=150, record=True)
    command = "make bench-causes" + (' BENCH_ARGS="--quick"' if given.quick else "")
    console.print(f"{command} · {time.strftime('%Y-%m-%d')} · {machine()}")
    figures: dict[str, float] = {}
    figures |= _seeded(console, QUICK if given.quick else FULL, given)
    figures |= _outside(console, OUTSIDE_SEEDS_QUICK if given.quick else OUTSIDE_SEEDS, given.jobs)
    parts: tuple[Callable[[Console], dict[str, float]], ...] = (_petshop, _nezha, _devices)
    for part in parts:
        try:
            figures |= part(console)
        except FileNotFoundError as absent:
            console.print(f"left out: {absent}")
    if given.out:
        given.out.write_text(f"# Causes: figures\n\n```\n{console.export_text()}```\n")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))  # for programs


def _seeded(console: Console, seeds: dict[str, int], given: argparse.Namespace) -> dict[str, float]:
    answers: list[seeded.Answer] = []
    for suite, count in seeds.items():
        answers += seeded.answers_of(seeded.cases([suite], count, seeded.KINDS), given.jobs, stores=given.stores)
    felt = [answer for answer in answers if answer.felt]
    console.print(f"Seeds: {seeds}. {len(answers) - len(felt)} faults that no user felt are left out.")
    seeded.show(console, felt, misses=given.misses)
    figures = seeded.figures(felt)
    for name, value in figures.items():
        console.print(f"{name}: {value:.3f}")
    return figures


def _outside(console: Console, seeds: int, jobs: int) -> dict[str, float]:
    figures = outside.run(range(seeds), outside.STYLES, processes=jobs)
    outside.show(console, figures, outside.STYLES)
    names = ("kind_first_ratio", "kind_and_entity_first_ratio", "kind_within_three_ratio", "clean_right_ratio")
    told = {f"outside_{name}": float(figures[name]) for name in names}
    for name, value in told.items():
        console.print(f"{name}: {value:.3f}")
    return told


def _petshop(console: Console) -> dict[str, float]:
    lines = petshop.rows(petshop.load())
    scoring.show("PetShop: the true cause is named", lines, console)
    figures = scoring.as_dict(lines)
    return {
        "petshop_ac_at_1": figures["excess accounting / all / at_1"],
        "petshop_ac_at_3": figures["excess accounting / all / at_3"],
    }


def _nezha(console: Console) -> dict[str, float]:
    lines = nezha.rows(nezha.load())
    scoring.show("Nezha: the pod at fault is named (performance faults, without logs, past only)", lines, console)
    figures = scoring.as_dict(lines)
    return {f"nezha_{system.lower()}_as_at_1": figures[f"{nezha.OURS} / {system} / at_1"] for system in ("OB", "TT")}


def _devices(console: Console) -> dict[str, float]:
    scores = devices.run()
    for score in scores:
        console.print(f"{score.name}: {score.right_count} of {score.total_count} states right")
    outcomes = gwdg.run()
    for name, outcome in outcomes.items():
        console.print(
            f"GWDG, {name}: {outcome.found_count} of {outcome.events_count} Xid-79 events within one scrape,"
            f" {len(outcome.false_alarms)} false alarms in {outcome.node_hours:,.0f} node-hours"
        )
    whole = next(iter(outcomes.values()))
    return {
        "device_states_right": sum(one.right_count for one in scores) / sum(one.total_count for one in scores),
        "gwdg_xid79_found": whole.found_count / whole.events_count,
        "gwdg_false_alarms": len(whole.false_alarms),
    }


if __name__ == "__main__":
    main()
