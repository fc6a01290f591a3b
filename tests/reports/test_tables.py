import csv
import io

from reports.tables import weekly_tables
from tests.reports.weekly_formats import EMPTY, NASTY, SAMPLE, hard_document


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_tables_have_every_row_and_raw_numbers() -> None:
    tables = weekly_tables(SAMPLE)
    objectives = rows_of(tables["objectives.csv"])
    assert len(objectives) == 6
    assert objectives[0]["target_ratio"] == "0.995"
    assert objectives[2]["sli_ratio"] == ""  # not known, and not 0
    assert len(rows_of(tables["cost_days.csv"])) == 7
    assert float(rows_of(tables["cost_models.csv"])[0]["cost_usd"]) == SAMPLE["cost"]["models"][0]["cost_usd"]


def test_a_part_that_is_not_configured_has_no_table_and_an_empty_one_has_its_heading() -> None:
    tables = weekly_tables(EMPTY)
    assert sorted(tables) == ["actions.csv", "incidents.csv", "objectives.csv", "policy.csv", "times.csv"]
    assert tables["incidents.csv"].startswith("id,service,started_at,")


def test_no_cell_is_run_by_a_spreadsheet() -> None:
    for name, text in weekly_tables(hard_document(NASTY)).items():
        for row in rows_of(text):
            for value in row.values():
                is_number = value.lstrip("-").replace(".", "", 1).replace("e-", "", 1).isdigit()
                assert is_number or value.lstrip()[:1] not in ("=", "+", "-", "@"), (name, value)


def test_a_hostile_name_can_be_read_back() -> None:
    user = rows_of(weekly_tables(hard_document(NASTY))["cost_users.csv"])[0]["user"]
    assert user == f"'{NASTY}"
