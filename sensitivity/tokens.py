"""Text to tokens: a calibration set and a held-out set that share no token of the text, by construction."""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sensitivity.calibration import CalibrationSpec
from sensitivity.errors import CalibrationError

_CALIBRATION: Final = 0
_HELD_OUT: Final = 1


class Tokenizer(Protocol):
    """What is needed of a tokenizer; those of ``transformers`` have it."""

    def encode(self, text: str, *, add_special_tokens: bool, verbose: bool) -> list[int]:
        """Token ids of a text; ``verbose`` off says nothing about texts longer than the model's context."""


@dataclass(frozen=True, slots=True)
class CalibrationTokens:
    """Tokens of a calibration set.

    Attributes:
        calibration: int64 of shape ``(sequences, sequence_length)``, for probes.
        held_out: int64 of shape ``(held_out_sequences, held_out_length)``, for evaluation only.
    """

    calibration: torch.Tensor
    held_out: torch.Tensor


def cut(text: str, tokenizer: Tokenizer, spec: CalibrationSpec) -> CalibrationTokens:
    """Cut a text into sequences of tokens, without special tokens.

    The token stream is divided once into two regions, in the ratio of the tokens that each set needs: the first is for
    calibration, the rest is held out. Each set then takes its sequences, in random order, from one of the equally probable
    ways to lay them into its region without overlap. So no position of the stream is in both sets or twice in one, and the
    regions do not depend on the seed: what is held out for one seed is held out for every seed of the same lengths.

    Args:
        text: the calibration text.
        tokenizer: tokenizer of the model.
        spec: counts, lengths and seed.

    Raises:
        CalibrationError: the text has fewer tokens than the two sets need together.
    """
    stream = np.asarray(tokenizer.encode(text, add_special_tokens=False, verbose=False), dtype=np.int64)
    _check_length(len(stream), spec)
    border = len(stream) * spec.sequences * spec.sequence_length // spec.tokens
    return CalibrationTokens(
        calibration=_sample(stream[:border], (spec.sequences, spec.sequence_length), seed=(spec.seed, _CALIBRATION)),
        held_out=_sample(stream[border:], (spec.held_out_sequences, spec.held_out_length), seed=(spec.seed, _HELD_OUT)),
    )


def _check_length(tokens: int, spec: CalibrationSpec) -> None:
    if tokens >= spec.tokens:
        return
    msg = (
        f"the text has {tokens} tokens, but {spec.tokens} are needed: {spec.sequences} x {spec.sequence_length} for calibration "
        f"and {spec.held_out_sequences} x {spec.held_out_length} held out; give a longer text, or fewer or shorter sequences"
    )
    raise CalibrationError(msg)


def _sample(region: NDArray[np.int64], shape: tuple[int, int], *, seed: tuple[int, int]) -> torch.Tensor:
    """Sequences of ``shape`` (count, length) from a region of at least as many tokens, none overlapping another.

    With the sequences themselves taken out, ``slack`` tokens stay. Which sequences stand before which of these is a choice
    of ``count`` places out of ``slack + count``: drawn without replacement, every layout is equally probable.
    """
    count, length = shape
    generator = np.random.default_rng(seed)
    slack = len(region) - count * length
    places = np.sort(generator.choice(slack + count, size=count, replace=False, shuffle=False))
    starts = places - np.arange(count) + np.arange(count) * length
    starts = generator.permutation(starts)
    return torch.from_numpy(region[starts[:, None] + np.arange(length)])
