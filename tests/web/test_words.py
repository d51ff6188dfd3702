"""Numbers read the same whether the server or a script writes them."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from api.web import formatting
from tests.web.chromium import Watched

_DRAWN: Final = np.random.default_rng(0)
NUMBERS: Final = [
    *(0.0, 1.0, 0.5, 2.5, -2.5, 9.995, 99.95, 999.4, 999.5, 1000.0, 1e-4, 9.9999e-5, 1e-5, 1e21, 1.125, 0.125, -0.0012345),
    *(1.005, 0.3456, 123_456.0, 999_999.0, 1e6, 5e-324, 1.7e300),
    *(float(number) for number in _DRAWN.normal(size=100) * 10.0 ** _DRAWN.integers(-9, 13, size=100)),
]  # fmt: skip
SIZES: Final = [abs(number) for number in NUMBERS if abs(number) < 1e20] + [1125.0, 1e15, 9.995e17, 269_060_552.0]
TIMES: Final = [
    *(0.0, 0.5, 1.5, 59.4, 59.5, 59.6, 60, 89.9, 90, 150, 210, 3599, 3600, 5400, 9000, 86_399, 86_400, 129_600, 2e5),
    None,
]
MEASURED: Final[list[list[float | None]]] = [
    *([value, error] for value in (0.3456, 18.2345, 0.0, -1.25, 1e-7) for error in (None, 0.0, 0.02, 0.0096, 0.00025, 3e-9)),
    [None, 0.1],
    [123_456.7, 0.5],
]  # fmt: skip


CASES: Final[list[tuple[str, Callable[..., str], Sequence[Sequence[Any]]]]] = [
    ("significant", formatting.significant, [[number] for number in [*NUMBERS, None]]),
    ("significant", formatting.significant, [[number, digits] for number in NUMBERS for digits in (1, 2, 6)]),
    ("bytes", formatting.in_bytes, [[size] for size in SIZES]),
    ("changeInBytes", formatting.change_in_bytes, [[sign * size] for size in SIZES for sign in (1, -1)]),
    ("count", formatting.in_count, [[size] for size in SIZES]),
    ("duration", formatting.duration, [[time] for time in TIMES]),
    ("percent", formatting.percent, [[number] for number in [*NUMBERS, None]]),
    ("measured", formatting.with_error, MEASURED),
]
_READ: Final = """async (cases) => {
  const words = await import("/static/js/words.js");
  return cases.map(([name, asked]) => asked.map((values) => words[name](...values)));
}"""


def test_a_value_reads_the_same_from_both(watched: Watched) -> None:
    watched.page.goto("/sign-in")
    read = watched.page.evaluate(_READ, [[name, asked] for name, _, asked in CASES])
    for (name, write, asked), texts in zip(CASES, read, strict=True):
        found = {f"{name}{values}": text for values, text in zip(asked, texts, strict=True)}
        assert found == {f"{name}{values}": write(*values) for values in asked}


def test_a_value_has_the_digits_that_its_error_leaves() -> None:
    assert formatting.with_error(0.34561, 0.02) == "0.346 ± 0.02"
    assert formatting.with_error(0.34561, 0.0002) == "0.3456 ± 0.0002"
    assert formatting.with_error(18.2345, 1e-9) == "18.2345 ± 1e-09"
    assert formatting.with_error(655.4, 312.0) == "655 ± 300"
    assert formatting.significant(999.6) == "1000"
    assert formatting.significant(999_999.0) == "1e+06"
    assert formatting.duration(150) == "3 min"
    assert formatting.significant(float("nan")) == formatting.significant(None) == "–"
