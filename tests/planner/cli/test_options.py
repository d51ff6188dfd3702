"""How budgets and pairs are read from the command line."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from planner.cli.options import read_bits, read_budgets, read_bytes, read_counts, read_number, read_pairs, read_time, read_values
from planner.errors import InvalidRequestError
from planner.schemas.plans import BudgetSpec


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("123456", 123456),
        ("20GB", 20 * 10**9),
        ("18.5GiB", int(18.5 * 2**30)),
        ("1.5 mb", 1_500_000),
        ("7ki", 7168),
        (".5k", 500),
        ("1.001GB", 1_001_000_000),
    ],
)
def test_bytes_with_units(text: str, value: int) -> None:
    assert read_bytes(text) == value


@pytest.mark.parametrize("text", ["", "GB", "20XB", "-3GB", "1e9", "i", "4iB", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="20GB"):
        read_bytes(text)


def test_one_limit() -> None:
    (found,) = _budgets({"--memory": "1GB"}, context=4096, batch=2, workspace="10MB")
    assert found.model_dump(exclude_none=True) == {
        "resident_bytes": 10**9,
        "context": 4096,
        "batch": 2,
        "workspace_bytes": 10**7,
    }
    assert [one.effective_bits for one in _budgets({"--bits": "4.25, 5"})] == [4.25, 5]
    assert [one.file_bytes for one in _budgets({"--file": "1GB,2GiB"})] == [10**9, 2**31]
    for given in ({}, {"--bits": ""}, {"--bits": "4,5", "--file": "1GB,2GB"}):
        with pytest.raises(InvalidRequestError, match="one of --bits"):
            _budgets(given)
    for bits in ("four", "nan", "-1"):
        with pytest.raises(ValidationError, match="effective_bits"):
            _budgets({"--bits": bits})


def test_several_limits_together_and_one_of_them_in_several_values() -> None:
    (found,) = _budgets({"--memory": "8GB", "--decode-ms": "9"}, device="l4", context=32768)
    assert found.model_dump(exclude_none=True, exclude_defaults=True) == {
        "resident_bytes": 8 * 10**9,
        "decode_seconds": 0.009,
        "device": "l4",
        "context": 32768,
    }
    swept = _budgets({"--max-loss": "0.02", "--bit-operations": "1G,1.5G"})
    assert [(one.max_loss, one.bit_operations) for one in swept] == [(0.02, 10**9), (0.02, 1_500_000_000)]
    with pytest.raises(InvalidRequestError, match="--prefill-ms 'soon' as milliseconds"):
        _budgets({"--prefill-ms": "soon"}, device="l4", context=1)
    for text in ("x", "300GB", ""):
        with pytest.raises(InvalidRequestError, match=r"number of bit-operations|one of --bits"):
            _budgets({"--bit-operations": text})
    with pytest.raises(ValidationError, match="need a device"):
        _budgets({"--decode-ms": "9"})


def _budgets(
    limits: dict[str, str], *, device: str | None = None, context: int = 0, batch: int = 1, workspace: str = "0"
) -> list[BudgetSpec]:
    return read_budgets(limits, device=device, context=context, batch=batch, workspace=workspace)


def test_numbers_and_times() -> None:
    assert (read_number("4.25", "x"), read_number("20GB", "x"), read_number(None, "x")) == (4.25, 20e9, None)
    with pytest.raises(InvalidRequestError, match="--budget-min 'four'"):
        read_number("four", "budget-min")
    assert read_time("2026-11-28T09:30+00:00", "x") == datetime(2026, 11, 28, 9, 30, tzinfo=UTC)
    assert read_time("2026-11-28", "x") == datetime(2026, 11, 28).astimezone()
    with pytest.raises(InvalidRequestError, match="--since 'yesterday'"):
        read_time("yesterday", "since")


def test_pairs() -> None:
    assert read_pairs(["*.q=INT4_G64", "*.q=INT4_G64"], "pin") == {"*.q": "INT4_G64"}
    assert read_bits(["*=3"], "floor") == {"*": 3}
    for wrong in (["*.q"], ["=INT4_G64"], ["*.q=INT4_G64", "*.q=INT8_G64"]):
        with pytest.raises(InvalidRequestError, match="--pin"):
            read_pairs(wrong, "pin")
    with pytest.raises(InvalidRequestError, match="whole number"):
        read_bits(["*=4.5"], "floor")


def test_values_are_numbers_where_they_read_as_one() -> None:
    found = read_values(["draws=16", "least=0.05", "most=1e-3", "arithmetic=float32"], "option")
    assert found == {"draws": 16, "least": 0.05, "most": 1e-3, "arithmetic": "float32"}
    assert [type(value) for value in found.values()] == [int, float, float, str]
    assert read_values(None, "option") == {}


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (">6<=20", {"pattern": "*", "above_bits": 6, "at_most": 20}),
        ("*.down_proj>6<=20", {"pattern": "*.down_proj", "above_bits": 6, "at_most": 20}),
        ("*.down_proj = INT8_G64, FP8 >= 4", {"pattern": "*.down_proj", "formats": ["INT8_G64", "FP8"], "at_least": 4}),
        ("model.layers.[01].*=INT2_G64<=3>=1", {"formats": ["INT2_G64"], "at_most": 3, "at_least": 1}),
        ("=INT2_G64>=0", {"pattern": "*", "formats": ["INT2_G64"], "at_least": 0}),
    ],
)
def test_counts(text: str, fields: dict[str, object]) -> None:
    (count,) = read_counts([text])
    assert count.model_dump(exclude_none=True).items() >= fields.items()
    assert read_counts(None) == []


@pytest.mark.parametrize(
    "text", ["", "*.q_proj", ">6", "<=3", "*>6=3", "*>x<=3", "*=<=3", ">6<=3<=4", ">6<=3>=1>=2", ">6<20", ">6<=-1"]
)
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--count"):
        read_counts([text])


@pytest.mark.parametrize(
    ("text", "why"), [(">6<=1>=2", "at least 2 and at most 1"), (">0<=3", "above_bits"), (">33<=3", "above_bits")]
)
def test_counts_that_contradict_themselves_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        read_counts([text])
