import polars as pl

from analytics.cost.csv_text import csv_text


def test_what_a_spreadsheet_would_run_is_told_as_text():
    names = ["acme", "=HYPERLINK(1)", "+1", "-2", "@x", None, "a=b", "\tx"]
    told = csv_text(pl.DataFrame({"tenant": names, "cost_usd": [1.0, -2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]}))
    rows = [line.rsplit(",", 1) for line in told.strip().split("\n")]
    assert [name for name, _ in rows] == ["tenant", "acme", "'=HYPERLINK(1)", "'+1", "'-2", "'@x", "", "a=b", "'\tx"]
    assert rows[2][1] == "-2.0"
