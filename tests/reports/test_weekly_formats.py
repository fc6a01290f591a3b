import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reports.weekly_formats import EMPTY, SAMPLE, digests_of_formats, formats, hard_document

ROOT = Path(__file__).parents[2]


def test_the_same_document_gives_the_same_bytes_in_every_format() -> None:
    assert formats(SAMPLE) == formats(SAMPLE)


@pytest.mark.slow
def test_another_process_with_another_hash_seed_gives_the_same_bytes() -> None:
    code = "from tests.reports.weekly_formats import digests_of_formats; print(digests_of_formats())"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert told == {digests_of_formats()}


def test_what_is_not_configured_is_said_to_be_in_every_format_that_people_read() -> None:
    made = formats(EMPTY)
    for name in ("html", "markdown"):
        text = made[name].decode()
        for words in ("No objectives are set", "Cost is not configured", "not known"):
            assert words in text, (name, words)
        assert "$0" not in text
    assert "Did we keep our promises? Not known." in made["digest"].decode()
    assert "cost_models.csv" not in made


def test_two_hundred_models_with_long_names_are_laid_out_all_the_same() -> None:
    made = formats(hard_document("n" * 4_000))
    assert len(made["digest"].decode().splitlines()) <= 15
    assert made["cost_models.csv"].count(b"\r\n") == 201
    assert b"188 more models are in the tables and the JSON document." in made["html"]
