"""Numbers and lines for people."""

import pytest

from planner.cli.reporting import in_bytes, problem_of, say, show_table, with_error


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.23959, 0.00512, "0.2396 ± 0.0051"),
        (14.72, 1.234, "14.7 ± 1.2"),
        (1234.5, 250.0, "1234 ± 250"),
        (0.5, None, "0.5"),
        (0.0, 0.0, "0"),
    ],
)
def test_values_end_with_the_second_digit_of_their_error(value: float, error: float | None, text: str) -> None:
    assert with_error(value, error) == text


def test_sizes_are_decimal() -> None:
    assert [in_bytes(n) for n in (7, 33_408, 113_095_296, 20 * 10**9, 10**15)] == [
        "7 B",
        "33.41 kB",
        "113.10 MB",
        "20.00 GB",
        "1000.00 TB",
    ]


def test_brackets_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    say("cannot read [/models/a] of [team]")
    assert capsys.readouterr().err == "cannot read [/models/a] of [team]\n"
    show_table("keys of [/b]", ["name", "id"], [["[/team] :cat:", "[bold]"]])
    shown = capsys.readouterr().out
    assert "[/team] :cat:" in shown
    assert "[bold]" in shown
    assert "keys of [/b]" in shown


def test_a_problem_has_its_place_and_no_words_of_the_library() -> None:
    assert problem_of(("budget", "batch"), "Input should be a valid integer") == "budget.batch: Input should be a valid integer"
    assert problem_of((), "Value error, a device needs a limit") == "a device needs a limit"
    assert problem_of(("budget",), "Value error, give one") == "budget: give one"
