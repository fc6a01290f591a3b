"""A store without rows."""

from storage.store import Store

_TABLES = """SELECT name FROM system.tables
WHERE database = currentDatabase() AND name != 'tailsight_migrations' AND engine NOT IN ('MaterializedView', 'Null')"""


def empty(store: Store) -> None:
    """Take all rows out of every table (about 10 ms); the schema and its record stay."""
    with store._client() as client:
        names = [name for (name,) in client.query(_TABLES).result_rows]
    for name in names:
        store.execute("TRUNCATE TABLE {name:Identifier}", {"name": name})
