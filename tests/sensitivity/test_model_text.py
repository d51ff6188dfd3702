"""Texts as models read them: what stands before them, and what a model cannot take."""

from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from sensitivity.calibration import CalibrationSpec
from sensitivity.checkpoint import describe
from sensitivity.errors import CalibrationError
from sensitivity.loading import load_model
from sensitivity.model_text import cut_for, opening_of
from sensitivity.tokens import cut
from tests.tiny_models import BUILDERS, byte_tokenizer, tiny_llama

TEXT = "".join(chr(97 + index * index % 26) for index in range(900))
SPEC = CalibrationSpec(sequences=4, sequence_length=16, held_out_sequences=3, held_out_length=24)


def _beginning_with(*tokens: int, ending_with: tuple[int, ...] = ()) -> PreTrainedTokenizerFast:
    """The byte tokenizer with special tokens around every text."""
    tokenizer = byte_tokenizer()
    names = {token: tokenizer.convert_ids_to_tokens(token) for token in (*tokens, *ending_with)}
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=[*(names[token] for token in tokens), "$A", *(names[token] for token in ending_with)],
        special_tokens=[(name, token) for token, name in names.items()],
    )
    return tokenizer


def test_a_tokenizer_without_special_tokens_cuts_as_ever(tmp_path: Path) -> None:
    model = load_model(describe(str(tiny_llama(tmp_path))))
    found, expected = cut_for(model, TEXT, SPEC), cut(TEXT, model.tokenizer, SPEC)
    assert torch.equal(found.calibration, expected.calibration)
    assert torch.equal(found.held_out, expected.held_out)


@pytest.mark.parametrize("opening", [(7,), (7, 9)])
def test_sequences_begin_as_the_tokenizer_begins_a_text(tmp_path: Path, opening: tuple[int, ...]) -> None:
    directory = tiny_llama(tmp_path)
    _beginning_with(*opening, ending_with=(5,)).save_pretrained(directory)
    model = load_model(describe(str(directory)))
    plain = cut(TEXT, byte_tokenizer(), SPEC)
    found = cut_for(model, TEXT, SPEC)
    for sequences, without in ((found.calibration, plain.calibration), (found.held_out, plain.held_out)):
        assert sequences[:, : len(opening)].tolist() == [list(opening)] * len(sequences)
        assert torch.equal(sequences[:, len(opening) :], without[:, len(opening) :])


def test_what_only_ends_a_text_is_left_out() -> None:
    assert opening_of(_beginning_with(ending_with=(5,))) == []
    assert opening_of(byte_tokenizer()) == []


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_no_sequence_is_longer_than_a_table_of_positions(tmp_path: Path, family: str) -> None:
    model = load_model(describe(str(BUILDERS[family](tmp_path))))
    longest = CalibrationSpec(sequences=1, sequence_length=512, held_out_sequences=1, held_out_length=512)
    whole = cut_for(model, TEXT * 2, longest).calibration
    assert model.module(whole).logits.isfinite().all()
    for length, held_out in ((513, 16), (16, 513)):
        spec = CalibrationSpec(sequences=1, sequence_length=length, held_out_sequences=1, held_out_length=held_out)
        with pytest.raises(CalibrationError, match="sequences of 513 tokens are longer than the 512 positions that"):
            cut_for(model, TEXT, spec)


def test_rotated_positions_go_on(tmp_path: Path) -> None:
    model = load_model(describe(str(tiny_llama(tmp_path))))
    spec = CalibrationSpec(sequences=1, sequence_length=513, held_out_sequences=1, held_out_length=16)
    assert cut_for(model, TEXT, spec).calibration.shape == (1, 513)


@pytest.mark.parametrize("opening", [(), (200,)])
def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path, opening: tuple[int, ...]) -> None:
    directory = tiny_llama(tmp_path, vocab=80)
    if opening:
        _beginning_with(*opening).save_pretrained(directory)
    model = load_model(describe(str(directory)))
    with pytest.raises(CalibrationError, match=r"gives the token \d+, but its embedding has 80 rows"):
        cut_for(model, TEXT if not opening else "!" * 900, SPEC)
