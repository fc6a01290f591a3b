import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import sql
from storage.settings import IdentitySettings
from storage.store import Store
from storage.upstream import OURS


def test_schema_files_are_numbered_without_a_gap() -> None:
    numbers = [int(path.stem[:4]) for path in sql.schema_steps()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_text_is_cut_into_statements_without_its_comments() -> None:
    text = "-- why\nCREATE TABLE a\n(\n    b Int8 -- kept, it is inside a line\n);\n\n  -- more\nSELECT ';';\n"
    assert sql.statements(text, "lean") == [
        "CREATE TABLE a\n(\n    b Int8 -- kept, it is inside a line\n)",
        "SELECT ';'",
    ]


def test_a_line_of_one_profile_is_left_out_of_the_other() -> None:
    text = "SELECT\n    1, -- only: upstream\n    2, -- only: lean\n    3\n"
    assert sql.statements(text, "upstream") == ["SELECT\n    1,\n    3"]
    assert sql.statements(text, "lean") == ["SELECT\n    2,\n    3"]


def test_a_prefix_changes_upstream_names_only() -> None:
    text = "otel_traces, 0001_otel_traces, otel_traces_trace_id_ts_mv, tailsight_otel_logs, __otel_materialized_k8s"
    assert sql.with_prefix(text, "tailsight_") == (
        "tailsight_otel_traces, 0001_tailsight_otel_traces, tailsight_otel_traces_trace_id_ts_mv, tailsight_otel_logs, "
        "__otel_materialized_k8s"
    )
    assert sql.with_prefix(text, "") == text


@pytest.mark.parametrize("path", sql.schema_steps(), ids=lambda path: path.stem)
@pytest.mark.parametrize("profile", ["lean", "upstream"])
def test_each_schema_statement_can_be_run_again(path: object, profile: str) -> None:
    for statement in sql.statements(path.read_text(), profile):  # type: ignore[attr-defined]
        assert re.match(
            r"CREATE (TABLE|MATERIALIZED VIEW) IF NOT EXISTS (otel|tailsight)_\w+"
            r"|DROP VIEW IF EXISTS tailsight_\w+$"
            r"|ALTER TABLE tailsight_\w+\n    ADD COLUMN IF NOT EXISTS "
            r"|ALTER TABLE otel_\w+\n    (MODIFY COLUMN \w+ CODEC\(\w+\)(, )?)+$"
            r"|ALTER TABLE (otel|tailsight)_\w+\n    MODIFY SETTING \w+ = \d+$",
            statement,
        )


@pytest.mark.parametrize("name", sql.views())
def test_each_view_is_one_statement_whose_lists_are_all_known(name: str) -> None:
    text = OURS.fill(sql.views()[name], IdentitySettings().model_dump())
    (statement,) = sql.statements(text, "view")
    assert re.match(r"CREATE MATERIALIZED VIEW IF NOT EXISTS tailsight_\w+_mv TO tailsight_\w+\n", statement)
    assert "{" not in statement


def test_a_view_comes_after_those_that_read_what_it_writes() -> None:
    names = list(sql.views())
    assert names.index("points_gauge") > names.index("new_series") > names.index("series") > names.index("known_series")
    assert names.index("points_sum") > names.index("samples") > names.index("seen_series")
    assert names.index("requests") > names.index("request_rollup")


def test_every_identity_list_is_used_by_a_view() -> None:
    texts = "".join(sql.views().values())
    assert {name for name in IdentitySettings.model_fields if f"{{{name} of " not in texts} == set()


def test_a_question_is_a_file_without_its_comments() -> None:
    assert sql.query("migrations").startswith("SELECT")
    with pytest.raises(FileNotFoundError, match=r"no_such_question\.sql"):
        sql.query("no_such_question")


@pytest.mark.parametrize("name", ["outcomes", "slo_counts", "request_series"])
def test_time_per_output_token_is_one_formula_in_all_questions(name: str) -> None:
    question = sql.query(name)
    assert question.count(sql.query("tpot_ms")) == 1
    assert question.count("decode_ms") == 1
    assert not re.search(r"\{\w+\}", question)


@given(text=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_quoted_text_is_closed_by_its_own_quotes_only(text: str) -> None:
    quoted = sql.quoted(text)
    assert re.fullmatch(r"'(?:[^'\\]|\\.)*'", quoted, re.DOTALL)
    assert re.sub(r"\\(.)", r"\1", quoted[1:-1], flags=re.DOTALL) == text


@pytest.mark.parametrize("name", ["plain", "with.dots", "it`s", "b\\", "模型 💥", "a b"])
def test_the_engine_reads_a_name_as_it_was(store: Store, name: str) -> None:
    assert store.engine is not None
    answer = store.engine.run(f"SELECT 1 AS {sql.identifier(name)}", "JSONColumns")
    assert json.loads(answer.body) == {name: [1]}


def test_the_engine_reads_a_quoted_text_as_it_was(store: Store) -> None:
    texts = ["it's", "\\", "\\n is no line, \n is one", "\t'\\''", "模型 💥", "{x:String} -- /* # ; \0"]
    assert store.engine is not None
    answer = store.engine.run(f"SELECT [{', '.join(map(sql.quoted, texts))}] AS texts", "JSONColumns")
    assert answer.body.decode().count("texts") == 1
    for text in texts:
        assert store.engine.run(f"SELECT hex({sql.quoted(text)})").body.decode().strip() == text.encode().hex().upper()
