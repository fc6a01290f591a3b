"""Objectives in files of OpenSLO v1, read at the start."""

import glob
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analytics.slo_documents.checks import OpenSloError
from analytics.slo_documents.objectives import objectives_in
from domain.slo import Objective


def read_objectives(patterns: Sequence[str]) -> tuple[Objective, ...]:
    """What the files promise, by their names.

    Args:
        patterns: files, or patterns of them as a shell has it (`**` for any folders).

    Raises:
        ValueError: when a pattern meets no file, or a file cannot be read or judged, or a name stands twice.
    """
    found: dict[str, Objective] = {}
    for file in _files(patterns):
        try:
            objectives = objectives_in(file.read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read {file}: {error}") from None
        except OpenSloError as error:
            raise ValueError(f"{file}: {error}") from None
        for objective in objectives:
            if objective.name in found:
                raise ValueError(f"{objective.name} stands in {found[objective.name].file} and in {file}")
            found[objective.name] = replace(objective, file=str(file))
    return tuple(found.values())


def _files(patterns: Sequence[str]) -> list[Path]:
    files: dict[Path, None] = {}
    for pattern in patterns:
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207  # that of Path takes no pattern from the root on
        met = [Path(name) for name in sorted(names) if Path(name).is_file()]
        if not met:
            raise ValueError(f"there is no file {pattern}")
        files |= dict.fromkeys(met)
    return list(files)
