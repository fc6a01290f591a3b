"""Steps as values; what they do to a store is in tests/contract/test_migrations.py."""

from collections import Counter

from storage.migrate import Step, all_steps
from storage.store import Store


def test_a_steps_checksum_changes_with_its_statements_only() -> None:
    step = Step("views/a", ("DROP VIEW a", "CREATE VIEW a"))
    assert step.checksum == Step("views/b", ("DROP VIEW a", "CREATE VIEW a")).checksum
    assert step.checksum != Step("views/a", ("DROP VIEW a", "CREATE VIEW a ")).checksum
    assert len(step.checksum) == 64


def test_no_two_steps_share_a_name(store: Store) -> None:
    assert set(Counter(step.name for step in all_steps(store)).values()) == {1}


def test_a_view_is_dropped_before_it_is_made_anew(store: Store) -> None:
    views = [step for step in all_steps(store) if step.name.startswith("views/")]
    assert views
    for step in views:
        drop, create = step.statements
        name = create.split()[3]
        assert drop == f"DROP VIEW IF EXISTS {name}"
        assert name.startswith("tailsight_")


def test_only_views_and_our_own_tables_are_ever_dropped_or_altered(store: Store) -> None:
    first_words = {statement.split()[0] for step in all_steps(store) for statement in step.statements}
    assert first_words == {"CREATE", "DROP"}
