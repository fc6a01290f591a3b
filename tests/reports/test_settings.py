import pytest
from pydantic import ValidationError

from reports.settings import WeeklySettings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"cron": "0 8 * *"}, "'0 8 \\* \\*' is no schedule .*expected e.g. 0 8 \\* \\* 1"),
        ({"cron": "0 8 30 2 *"}, "is no schedule"),
        ({"time_zone": "Prague"}, "'Prague' is not a time zone; expected e.g. UTC or Europe/Prague"),
        ({"recievers": ["a"]}, "recievers"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_refused(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        WeeklySettings.model_validate(given)


def test_no_schedule_is_one_too_and_nobody_gets_it_twice() -> None:
    assert WeeklySettings(cron=" ").cron == ""
    assert WeeklySettings(receivers=("a", "b", "a")).receivers == ("a", "b")
