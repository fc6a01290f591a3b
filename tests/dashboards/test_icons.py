from pathlib import Path

import pytest

from dashboards import icons
from domain.cause import CauseKind
from domain.entity import EntityKind

_STYLES = (Path(icons.__file__).parent / "assets" / "icons.css").read_text()


@pytest.mark.parametrize("kind", [*CauseKind, *EntityKind])
def test_every_kind_of_cause_and_of_thing_has_an_icon_that_is_shipped(kind: CauseKind | EntityKind) -> None:
    table = icons.CAUSE_ICONS if isinstance(kind, CauseKind) else icons.ENTITY_ICONS
    assert f".icon-{table[kind]} " in _STYLES  # type: ignore[index]  # the table of this kind


def test_things_of_different_kinds_look_different() -> None:
    assert len(set(icons.ENTITY_ICONS.values())) == len(EntityKind)
