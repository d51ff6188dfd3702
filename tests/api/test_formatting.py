"""Numbers, times and budgets as people read them."""

from typing import Any

import pytest

from api.web.formatting import budget, duration, in_bytes, in_count
from planner.budget import BudgetKind
from planner.schemas.plans import BudgetSpec

LIMITS: dict[BudgetKind, tuple[dict[str, Any], str]] = {
    BudgetKind.EFFECTIVE_BITS: ({"effective_bits": 4.25}, "4.25 bits"),
    BudgetKind.FILE_BYTES: ({"file_bytes": 56_400_000}, "file of 56.4 MB"),
    BudgetKind.RESIDENT_BYTES: ({"resident_bytes": 8_000_000_000, "context": 4096}, "memory of 8 GB"),
    BudgetKind.DECODE_SECONDS: ({"decode_seconds": 0.009, "device": "l4"}, "9 ms a token on l4"),
    BudgetKind.PREFILL_SECONDS: ({"prefill_seconds": 0.4, "device": "l4", "context": 512}, "400 ms a prompt on l4"),
    BudgetKind.BIT_OPERATIONS: ({"bit_operations": 2e12}, "2e+12 bit-operations"),
    BudgetKind.POOL_BYTES: ({"pool_bytes": {"hbm": 16_000_000_000}, "device": "l4"}, "16 GB of hbm"),
    BudgetKind.MAX_LOSS: ({"max_loss": 0.02}, "loss of 0.02"),
}


def test_every_kind_of_limit_has_words() -> None:
    assert set(LIMITS) == set(BudgetKind)


@pytest.mark.parametrize("kind", LIMITS)
def test_a_limit_is_told_in_its_own_unit(kind: BudgetKind) -> None:
    given, words = LIMITS[kind]
    assert budget(BudgetSpec.model_validate(given)) == words


def test_several_limits_are_all_told() -> None:
    assert budget(BudgetSpec(effective_bits=4.5, max_loss=0.1)) == "4.5 bits, loss of 0.1"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (269_060_552, "269 MB"), (999_999, "1 MB"), (1.4e11, "140 GB")]
)
def test_bytes(size: float, text: str) -> None:
    assert in_bytes(size) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (999, "999"), (134_515_008, "135 M"), (7e9, "7 B"), (999_999, "1 M")])
def test_counts(number: float, text: str) -> None:
    assert in_count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.0, "0 s"), (59.6, "1 min"), (61, "1 min"), (3600, "1 h"), (200_000, "2 d")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
