from reports import words


def test_money_that_is_not_known_is_said_to_be() -> None:
    assert [words.money(usd) for usd in (None, 0.0, -240.2)] == ["not known", "$0", "−$240"]
    assert [words.money_change(usd) for usd in (None, 240.2)] == ["not known", "+$240"]


def test_a_budget_and_an_sli_are_rounded_down() -> None:
    assert words.percent_down(0.9999) == "99\N{NO-BREAK SPACE}%"
    assert words.percent_down(-0.001) == "−1\N{NO-BREAK SPACE}%"
    assert words.percent_of_target(0.99499, 0.995) == "99.499\N{NO-BREAK SPACE}%"


def test_little_is_not_nothing() -> None:
    assert words.percent(0.001) == "<1\N{NO-BREAK SPACE}%"
    assert words.percent(0.0) == "0\N{NO-BREAK SPACE}%"
    assert words.change(0.001) == "0\N{NO-BREAK SPACE}%"
    assert words.change(24.0) == "×25"


def test_both_ends_of_a_long_name_are_kept() -> None:
    assert words.shortened("chat-completions-europe-7", 12) == "chat-com…e-7"
    assert words.shortened("chat", 4) == "chat"


def test_of_sentences_those_that_fit_are_kept_whole() -> None:
    told = "Two replicas do it. A third one stands by for 0.5 of the hours at peak."
    assert words.shortened(told, 40) == words.shortened(told, 19) == "Two replicas do it."
    assert words.shortened(told, 18) == "Two replicas do…"


def test_a_range_of_what_reads_the_same_is_one_figure() -> None:
    assert words.money_range(108_672.8, 108_673.1) == "$108,673"
    assert words.money_range(10_701, 14_723) == "$10,701 to $14,723"
    assert [words.money_range(None, 3.0), words.money_range(None, None)] == ["$3.00", "not known"]


def test_long_counts_are_told_short() -> None:
    assert [words.count(value).replace("\N{NO-BREAK SPACE}", " ") for value in (18_420, 18_420_000, 1.25e9)] == [
        "18,420",
        "18.4 M",
        "1.25 B",
    ]
