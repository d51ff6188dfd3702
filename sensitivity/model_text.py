"""A text as a model reads it: in its tokens, behind what its tokenizer puts before a text, and within what it can take."""

from typing import Any

from torch import Tensor

from sensitivity.calibration import CalibrationSpec
from sensitivity.checkpoint.families import get_family
from sensitivity.errors import CalibrationError
from sensitivity.loading import LoadedModel
from sensitivity.tokens import CalibrationTokens, cut

_SOME_TEXT = "a"


def cut_for(model: LoadedModel, text: str, spec: CalibrationSpec) -> CalibrationTokens:
    """Cut a text for a model.

    The first tokens of each sequence are those with which the tokenizer begins a text (a token for its beginning), if it has
    such: models that were trained with them predict badly without them. They stand in place of tokens of the text.

    Args:
        model: the model.
        text: the text.
        spec: counts, lengths and seed.

    Raises:
        CalibrationError: too few tokens, sequences longer than the model's table of positions, or tokens that it does not know.
        CheckpointError: the model has no tokenizer.
    """
    _check_positions(model, spec)
    tokens = cut(text, model.tokenizer, spec)
    opening = opening_of(model.tokenizer)
    for sequences in (tokens.calibration, tokens.held_out):
        _check_vocabulary(model, sequences)
        if len(opening) < sequences.shape[1]:
            sequences[:, : len(opening)] = sequences.new_tensor(opening)
            _check_vocabulary(model, sequences)
    return tokens


def opening_of(tokenizer: Any) -> list[int]:
    """The tokens that a tokenizer puts before every text; for most an empty list, or one token."""
    plain = tokenizer.encode(_SOME_TEXT, add_special_tokens=False)
    whole = tokenizer.encode(_SOME_TEXT, add_special_tokens=True)
    starts = [start for start in range(len(whole)) if whole[start : start + len(plain)] == plain]
    return list(whole[: starts[0]]) if starts else []


def _check_positions(model: LoadedModel, spec: CalibrationSpec) -> None:
    """Positions that are learned end with their table; those that are rotated go on."""
    longest = model.description.context_length
    given = max(spec.sequence_length, spec.held_out_length)
    if get_family(model.description.architecture).learned_positions and longest is not None and given > longest:
        msg = (
            f"sequences of {given} tokens are longer than the {longest} positions that {model.description.source} has: give a "
            f"sequence length and a held-out length of at most {longest}"
        )
        raise CalibrationError(msg)


def _check_vocabulary(model: LoadedModel, sequences: Tensor) -> None:
    greatest, rows = int(sequences.max()), model.description.embedding_rows
    if greatest >= rows:
        msg = (
            f"the tokenizer of {model.description.source} gives the token {greatest}, but its embedding has {rows} rows: put the "
            f"tokenizer of this very model beside its weights"
        )
        raise CalibrationError(msg)
