"""Cutting text into tokens: held out by construction, for every text, shape and seed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensitivity.calibration import CalibrationSpec
from sensitivity.errors import CalibrationError
from sensitivity.tokens import CalibrationTokens, cut


class PositionTokenizer:
    """Each character is one token, and the token is its position: what was taken from where can be seen."""

    def encode(self, text: str, *, add_special_tokens: bool, verbose: bool) -> list[int]:
        assert not add_special_tokens
        assert not verbose
        return list(range(len(text)))


def _cut(tokens: int, spec: CalibrationSpec) -> CalibrationTokens:
    return cut("x" * tokens, PositionTokenizer(), spec)


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, CalibrationSpec]:
    spec = CalibrationSpec(
        sequences=draw(st.integers(1, 8)),
        sequence_length=draw(st.integers(2, 20)),
        held_out_sequences=draw(st.integers(1, 8)),
        held_out_length=draw(st.integers(2, 20)),
        seed=draw(st.integers(0, 2**63 - 1)),
    )
    return spec.tokens + draw(st.integers(0, 300)), spec


@given(cases())
@settings(max_examples=200)
def test_no_position_is_used_twice_and_sequences_are_contiguous(case: tuple[int, CalibrationSpec]) -> None:
    tokens, spec = case
    result = _cut(tokens, spec)
    assert result.calibration.shape == (spec.sequences, spec.sequence_length)
    assert result.held_out.shape == (spec.held_out_sequences, spec.held_out_length)
    assert result.calibration.dtype == result.held_out.dtype == torch.int64
    used = torch.cat([result.calibration.flatten(), result.held_out.flatten()])
    assert len(set(used.tolist())) == spec.tokens
    assert int(used.min()) >= 0
    assert int(used.max()) < tokens
    for sequences in (result.calibration, result.held_out):
        assert bool((sequences.diff(dim=1) == 1).all())


@given(cases(), st.integers(0, 2**63 - 1))
@settings(max_examples=200)
def test_what_is_held_out_for_one_seed_is_held_out_for_every_seed(case: tuple[int, CalibrationSpec], seed: int) -> None:
    tokens, spec = case
    lengths = (spec.sequences, spec.sequence_length, spec.held_out_sequences, spec.held_out_length)
    other = _cut(tokens, CalibrationSpec(*lengths, seed=seed))
    assert int(_cut(tokens, spec).calibration.max()) < int(other.held_out.min())


def test_same_seed_same_tokens_and_other_seeds_other_tokens() -> None:
    spec = CalibrationSpec(4, 16, 4, 16, seed=1)
    first, again = _cut(1000, spec), _cut(1000, spec)
    assert torch.equal(first.calibration, again.calibration)
    assert torch.equal(first.held_out, again.held_out)
    other = _cut(1000, CalibrationSpec(4, 16, 4, 16, seed=2))
    assert not torch.equal(first.calibration, other.calibration)
    assert not torch.equal(first.held_out, other.held_out)


def test_every_layout_is_equally_probable() -> None:
    """Two sequences of two tokens in a region of six: six layouts in two orders, by enumeration."""
    counts: dict[tuple[int, int], int] = {}
    for seed in range(2400):
        starts = _cut(12, CalibrationSpec(2, 2, 2, 2, seed=seed)).calibration[:, 0].tolist()
        counts[starts[0], starts[1]] = counts.get((starts[0], starts[1]), 0) + 1
    layouts = {(a, b) for a in range(5) for b in range(5) if abs(a - b) >= 2}
    assert set(counts) == layouts
    statistic = sum((count - 2400 / 12) ** 2 / (2400 / 12) for count in counts.values())
    assert statistic < 31.3  # the 99.9 % point of chi-squared with 11 degrees of freedom


def test_a_text_that_just_suffices_is_used_whole() -> None:
    spec = CalibrationSpec(3, 5, 2, 7)
    result = _cut(29, spec)
    used = np.concatenate([result.calibration.numpy().ravel(), result.held_out.numpy().ravel()])
    assert sorted(used) == list(range(29))


@pytest.mark.parametrize("tokens", [0, 1, 28])
def test_refuses_a_text_with_too_few_tokens(tokens: int) -> None:
    with pytest.raises(
        CalibrationError, match=rf"has {tokens} tokens, but 29 are needed: 3 x 5 .* 2 x 7 held out; give a longer"
    ):
        _cut(tokens, CalibrationSpec(3, 5, 2, 7))
